package routeros

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// gistText has what may come and go, and what looks like it.
const gistText = "# 2026-01-02 03:04:05 by RouterOS 7.20.2\r\n# software id = AAAA-BBBB\r\n#\r\n# model = RB5009\r\n/interface wifi\r\n" +
	"# channel: 2412\r\nset [ find ] ssid=a \\\r\n    passphrase=12345678\r\n# not running\r\n/ip address\r\nadd address=10.0.0.1/24 comment=\"# no\" \\\r\n" +
	"    interface=a\r\n/lcd interface pages\r\nset 0 a\r\nset <pppoe-a> b\r\nset <pppoe-b> b\r\n/system identity\r\nset name=core\r\n"

func TestGist(t *testing.T) {
	t.Parallel()
	of := func(text string) Gist {
		t.Helper()
		g, got, ok := GistOf([]byte(text+marker+"\r\n"), marker)
		if !ok || string(got) != text {
			t.Fatalf("no gist of %q", text)
		}
		return g
	}
	whole := of(gistText)
	for name, tc := range map[string]struct {
		old, now string
		same     bool
	}{
		"date":         {"2026-01-02 03:04:05", "2026-01-03 09:09:09", true},
		"channel":      {"channel: 2412", "channel: 5180/ax", true},
		"comment gone": {"# not running\r\n", "", true},
		"comment more": {"/ip address\r\n", "/ip address\r\n# busy\r\n", true},
		"version":      {"7.20.2", "7.20.3", false},
		"model":        {"RB5009", "RB5010", false},
		"page gone":    {"set <pppoe-a> b\r\n", "", true}, "page elsewhere": {"set name", "set <pppoe-c> b\r\nset name", false},
		"pages gone":         {"set <pppoe-a> b\r\nset <pppoe-b> b\r\n", "", true},
		"menu of pages":      {"/system identity", "/lcd pages\r\nset <a>\r\nset \"<b c>\"\r\n/system identity", true},
		"empty menu":         {"/system identity", "/lcd pages\r\n/system identity", false},
		"only pages":         {"set 0 a\r\n", "", false},
		"value":              {"ssid=a", "ssid=b", false},
		"quoted":             {`"# no"`, `"# yes"`, false},
		"line gone":          {"set name=core\r\n", "", false},
		"interrupted":        {"# not running", "#interrupted", false},
		"failed menu":        {"# not running", "#error exporting /ip", false},
		"second header":      {"# not running", "# 2026-01-02 03:04:05 by RouterOS 7.20.2", false},
		"after a wrap":       {"    interface=a", "# interface=a", false},
		"comment that wraps": {"# not running\r\n", "# not running \\\r\n", false},
	} {
		if of(strings.Replace(gistText, tc.old, tc.now, 1)) == whole != tc.same {
			t.Errorf("%s: same %v, want %v", name, !tc.same, tc.same)
		}
	}
	for name, output := range map[string]string{
		"no marker": gistText, "cut": gistText[:90], "nothing": "", "no header": "/ip address\n" + marker, "marker only": marker + "\n",
	} {
		if _, _, ok := GistOf([]byte(output), marker); ok {
			t.Errorf("%s: has a gist", name)
		}
	}
}

// FuzzGist: whatever is put into an export, and wherever, one gist means one normal form and one verdict.
func FuzzGist(f *testing.F) {
	texts := []string{gistText}
	files, err := filepath.Glob(filepath.Join("testdata", "*", "*.rsc"))
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	for _, text := range texts {
		for _, part := range []string{"# x\n", "#interrupted\n", "\\", "\n# ", "# by RouterOS 7\n", "    b=c\n", "/lcd\n", "set <a> b\n", "\n/lcd\nset <a>\n", "set 1\n"} {
			f.Add(text, uint(len(text)/2), part)
			f.Add(text, uint(strings.LastIndexByte(text, '#')), part)
		}
	}
	f.Fuzz(func(t *testing.T, text string, at uint, part string) {
		at %= uint(len(text) + 1)
		other := text[:at] + part + text[at:]
		end := "\n" + marker + "\n"
		one, _, ok := GistOf([]byte(text+end), marker)
		two, _, ok2 := GistOf([]byte(other+end), marker)
		if !ok || !ok2 || one != two {
			return
		}
		a, b := Prove(nil, []byte(text+end), marker, Want{}, nil), Prove(nil, []byte(other+end), marker, Want{}, nil)
		if a.Kind != "" || b.Kind != "" {
			if a.Kind != b.Kind {
				t.Errorf("%q is %s, %q is %s", text, a.Kind, other, b.Kind)
			}
			return
		}
		if !bytes.Equal(a.Normal, b.Normal) {
			t.Errorf("%q and %q have one gist and two normal forms", text, other)
		}
		a.Text, b.Text, a.Normal, b.Normal = nil, nil, nil, nil
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%q and %q have one gist, and say %+v and %+v", text, other, a, b)
		}
	})
}

func BenchmarkGist(b *testing.B) {
	bench(b, func(b *testing.B, output, dst []byte) []byte {
		if _, _, ok := GistOf(output, marker); !ok {
			b.Fatal("no gist")
		}
		return dst
	})
}
