package archive

import (
	"strings"
	"testing"
)

func TestFileNames(t *testing.T) {
	t.Parallel()
	dev := func(id, name string) Device { return Device{ID: id, Name: name} }
	got := FileNames([]Device{
		dev("1", "same"), dev("2", "Same"), dev("3", ""), dev("4", "../../etc/passwd"), dev("5", ".git"), dev("6", "x\ny\x00\"z"),
		dev("7", strings.Repeat("ö", 100)), dev("8", " . "), dev("2001:db8::1", "v6"), dev("9", "v6"), dev("10", "same@1"), dev("11", "..."),
	})
	want := map[string]string{
		"1": "same@1", "2": "Same@2", "3": "3", "4": "_.._etc_passwd", "5": "git", "6": "x_y__z",
		"7": strings.Repeat("_", fileNameMax), "8": "_._", "2001:db8::1": "v6@2001+db8++1", "9": "v6@9", "10": "same_1", "11": "11",
	}
	seen := map[string]bool{}
	for id, name := range want {
		if got[id] != name || seen[name] {
			t.Errorf("device %s: %q, want %q", id, got[id], name)
		}
		seen[name] = true
	}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
}
