package backup

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzSnapshotText: any text that is UTF-8 arrives as it was.
func FuzzSnapshotText(f *testing.F) {
	for _, s := range []string{
		"", "/ip address\nadd address=10.0.0.1/24 comment=\"a \\\"b\\\"\"\n", "\x00\x1f\x7f\u0080\u2028<&>\t\r\n", strings.Repeat("a", 7) + `"`,
		strings.Repeat("\\", 9), "ü\U0010ffff" + strings.Repeat(" ", 8) + "\x1f", "!\x01\"", "\x21\x20\x1f",
	} {
		f.Add(s, []byte(s))
	}
	f.Fuzz(func(t *testing.T, text string, raw []byte) {
		text = strings.ToValidUTF8(text, "?") // others are refused before
		b, err := EncodeEvent(Snapshot{DeviceID: "r1", ConfigText: text, RawSnappy: raw})
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b) {
			t.Fatalf("no JSON: %s", b)
		}
		s, err := DecodeSnapshot(b)
		if err != nil || s.DeviceID != "r1" || s.ConfigText != text || string(s.RawSnappy) != string(raw) {
			t.Errorf("%q became %q, %v", text, s.ConfigText, err)
		}
	})
}

func BenchmarkEncodeSnapshot(b *testing.B) {
	s := Snapshot{DeviceID: "r1", ConfigText: strings.Repeat("add address=10.0.0.1/24 comment=\"a customer of the wholesaler\" list=customers\n", 1300)}
	b.SetBytes(int64(len(s.ConfigText)))
	for b.Loop() {
		if _, err := EncodeEvent(s); err != nil {
			b.Fatal(err)
		}
	}
}
