package routeros

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalizeGolden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"branch7", "office6"} {
		raw, want := read(t, name+".rsc"), read(t, name+".normal")
		for form, text := range map[string][]byte{"lf": raw, "crlf": crlf(raw), "normal": want, "no final newline": bytes.TrimSuffix(raw, []byte("\n"))} {
			if got := Normalize(nil, text); !bytes.Equal(got, want) {
				t.Errorf("%s as %s:\n%s\nwant\n%s", name, form, got, want)
			}
		}
	}
}

func TestNormalizeLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"only comments", header, ""},
		{"only blanks", " \n\t\r\n\n", ""},
		{"final newline", "/ip", "/ip\n"},
		{"crlf twice", "/ip\r\r\n", "/ip\n"},
		{"join after space", "add a=1 \\\n    b=2\n", "add a=1 b=2\n"},
		{"join after equals", "add a=\\\n    b\n", "add a=b\n"},
		{"join in a word", "add a=\"pas\\\r\n    sword\"\r\n", "add a=\"password\"\n"},
		{"join before a space", "add a=\"4\\\n    \\_6\"\n", "add a=\"4 6\"\n"},
		{"join thrice", "add \\\n    a=\"x\\\n    \\_\\\n    y\"\n", "add a=\"x y\"\n"},
		{"join without indent", "add a=\\\nb\n", "add a=b\n"},
		{"escaped underscore elsewhere stays", `add a="x\_y"` + "\n", `add a="x\_y"` + "\n"},
		{"escaped backslash then underscore stays", "add a=\"\\\n    \\\\_\"\n", "add a=\"\\\\_\"\n"},
		{"even backslashes do not join", "add a=\\\\\nadd b\n", "add a=\\\\\nadd b\n"},
		{"odd backslashes lose one", "add a=\"\\\\\\\n    b\"\n", "add a=\"\\\\b\"\n"},
		{"broken off in a join", "add a=\\\n", "add a=\n"},
		{"broken off at the backslash", "add a=\\", "add a=\n"},
		{"trailing blanks", "add a=1 \t \nset b\r\n", "add a=1\nset b\n"},
		{"trailing blank that keeps a line apart", "add a=\\ \t\nadd b\n", "add a=\\ \nadd b\n"},
		{"return kept from keeping a line apart", "add a=\\\r \nadd b\n", "add a=\\ \nadd b\n"},
		{"hash after a wrap", "add a=\"x\\\n    # y\"\n", "add a=\"x# y\"\n"},
		{"status comment", "/ip\n# inactive time\nadd a\n#\n##\n", "/ip\nadd a\n"},
		{"status comment that ends in a backslash", "# SSID: x\\\nadd a\n", "add a\n"},
		{"status comment that is wrapped", "# SSID: \\\n    x\nadd a\n", "add a\n"},
		{"gap and interrupted", "#error exporting /ip socks\n#interrupted\n", ""},
		{"hardware and ids stay", "/disk\nset slot1 slot=slot1\n/ip\nset a=*8 b=*1F\n", "/disk\nset slot1 slot=slot1\n/ip\nset a=*8 b=*1F\n"},
		{"dynamic page elsewhere stays", "/ppp profile\nset <a> b\n", "/ppp profile\nset <a> b\n"},
		{"dynamic pages", "/lcd interface pages\nset <a> b\nset \"<c d>\" e\nset 0\n/ip\n", "/lcd interface pages\nset 0\n/ip\n"},
		{"dynamic pages only", "/ip\nadd a\n/system lcd page\nset <a> b\n# c\n/tool\nadd b\n", "/ip\nadd a\n/tool\nadd b\n"},
		{"dynamic pages only, last", "/ip\nadd a\n/lcd\nset <a>\n", "/ip\nadd a\n"},
		{"dynamic pages only, twice", "/lcd\nset <a>\n/system/lcd/page\nset <a>\n", ""},
		{"empty lcd menu stays", "/lcd\n/ip\n", "/lcd\n/ip\n"},
		{"like a dynamic page", "/lcd\nset a<b> c\nset <a\nset \"<a> b\" c\nadd <a>\n", "/lcd\nset a<b> c\nset <a\nset \"<a> b\" c\nadd <a>\n"},
		{"like an lcd menu", "/lcdx\nset <a> b\n/system\nset <a> b\n", "/lcdx\nset <a> b\n/system\nset <a> b\n"},
		{"lcd menu with a wrapped command", "/ip\n/lcd \\\nset 0\nset <a> b\n", "/ip\n"},
		{"lcd menu with a command", "/lcd set enabled=no\nset <a> b\n", "/lcd set enabled=no\nset <a> b\n"},
	} {
		for form, in := range map[string]string{"lf": c.in, "again": string(Normalize(nil, []byte(c.in)))} {
			if got := string(Normalize(nil, []byte(in))); got != c.want {
				t.Errorf("%s, %s: %q gave %q, want %q", c.name, form, in, got, c.want)
			}
		}
	}
}

func TestNormalizeAppends(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{"/lcd\n": "/lcd\n/ip\n", "# x\n": "# x\n/ip\n", "a": "a/ip\n"} {
		if got := string(Normalize([]byte(before), []byte("/lcd\nset <a> b\n/ip\n"))); got != want {
			t.Errorf("after %q: %q, want %q", before, got, want)
		}
	}
}

func TestWrapColumnLeavesNoTrace(t *testing.T) {
	t.Parallel()
	texts := map[string][]byte{"branch7": read(t, "branch7.rsc"), "office6": read(t, "office6.rsc")}
	for name, text := range texts {
		checkWidths(t, name, text)
	}
}

// checkWidths wraps text anew at many widths and wants one digest of all of them and of text as it is.
func checkWidths(t *testing.T, name string, text []byte) {
	t.Helper()
	normal := Normalize(nil, text)
	whole := append([]byte(header), normal...) // unwrapped
	want := Digest(normal)
	for width := 12; width < 400; width++ {
		wrapped := wrap(whole, width)
		if width == 12 && bytes.Equal(wrapped, whole) {
			t.Errorf("%s: nothing was wrapped", name)
		}
		for _, form := range [][]byte{wrapped, crlf(wrapped)} {
			if got := Normalize(nil, form); Digest(got) != want {
				t.Fatalf("%s at %d columns:\n%s\nwant\n%s", name, width, got, normal)
			}
			if v := Prove(nil, form, "", Want{}, nil); !v.Complete {
				t.Fatalf("%s at %d columns: %s", name, width, v.Reason)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	if got := Digest([]byte("abc")); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(got)
	}
}

func TestShrunk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		last, now int
		want      bool
	}{
		{0, 0, false}, {0, 100, false}, {1000, 0, false}, {2047, 0, false}, {2048, 0, true},
		{100_000, 70_000, false}, {100_000, 69_999, true}, {100_000, 150_000, false}, {6000, 4000, false}, {7000, 4000, true},
	} {
		if got := Shrunk(c.last, c.now); got != c.want {
			t.Errorf("Shrunk(%d, %d) is %t", c.last, c.now, got)
		}
	}
}

// FuzzNormalize holds the normal form against a plain second reading of the rules.
func FuzzNormalize(f *testing.F) {
	for _, name := range []string{"branch7.rsc", "office6.rsc", "branch7.normal"} {
		f.Add(read(f, name), uint(79))
	}
	for _, s := range []string{"", "\\", "a\\\n\\_\\\n#", "#\\\n  b\n", "\r\n\\\r\r\n", "/lcd\nset <a>\n/lcd\nset \"<\">\n", "a\\ \r\n", "\\\n#a\\\nb",
		"\xcb\xd0\n\x9f", "00\"00000000000\\0\\0", "a=  b= \"c  d\t\\_\\\" e\\D0\" \\_ f\n"} {
		f.Add([]byte(s), uint(8))
	}
	f.Fuzz(func(t *testing.T, text []byte, width uint) {
		once := Normalize(nil, text)
		if twice := Normalize(nil, once); !bytes.Equal(once, twice) {
			t.Errorf("%q gives %q and then %q", text, once, twice)
		}
		if !utf8.Valid(once) || len(once) > 3*len(text)+1 || utf8.Valid(text) && len(once) > len(text)+1 {
			t.Errorf("%q grew to %q", text, once)
		}
		if got := Normalize(nil, crlf(lf(text))); !bytes.Equal(got, once) {
			t.Errorf("%q: line ends change %q to %q", text, once, got)
		}
		if want := plainNormal(string(text)); string(once) != want {
			t.Errorf("%q gives %q, the plain reading %q", text, once, want)
		}
		if wrapped := wrap(once, int(width%300)); !bytes.Equal(Normalize(nil, wrapped), once) {
			t.Errorf("%q wrapped as %q gives %q", once, wrapped, Normalize(nil, wrapped))
		}
	})
}

// plainNormal is Normalize again, written to be read: it shares no code with it but the rule for one dynamic page.
func plainNormal(text string) string {
	var logical []string
	physical := strings.Split(text, "\n")
	for i := 0; i < len(physical); i++ {
		line := strings.TrimRight(physical[i], "\r")
		comment := strings.HasPrefix(line, "#")
		for goesOn(line) {
			if i+1 == len(physical) {
				line = line[:len(line)-1]
				break
			}
			next := physical[i+1]
			if comment && !strings.HasPrefix(next, " ") && !strings.HasPrefix(next, "\t") {
				break
			}
			next = strings.TrimLeft(strings.TrimRight(next, "\r"), " \t")
			more := goesOn(strings.TrimRight(physical[i+1], "\r"))
			line = line[:len(line)-1]
			if rest, ok := strings.CutPrefix(next, `\_`); ok {
				next = " " + rest
			}
			line += next
			i++
			if !more {
				break
			}
		}
		logical = append(logical, line)
	}
	var kept []string
	for _, line := range logical {
		short := strings.TrimRight(line, " \t\r")
		if short != line && goesOn(short) {
			short += " "
		}
		if short != "" && short[0] != '#' {
			kept = append(kept, short)
		}
	}
	return plainUTF8(plainWithoutPages(kept))
}

func plainUTF8(text string) string {
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(text, "") {
		for len(text) > 0 && !strings.HasPrefix(text, string(r)) {
			fmt.Fprintf(&out, `\%02X`, text[0])
			text = text[1:]
		}
		out.WriteRune(r)
		text = strings.TrimPrefix(text, string(r))
	}
	for i := range len(text) {
		fmt.Fprintf(&out, `\%02X`, text[i])
	}
	return out.String()
}

func goesOn(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func plainWithoutPages(lines []string) string {
	var out strings.Builder
	for i := 0; i < len(lines); {
		n := i + 1
		for n < len(lines) && lines[n][0] != '/' {
			n++
		}
		menu := lines[i:n]
		path := strings.FieldsFunc(menu[0], func(r rune) bool { return r == ' ' || r == '/' })
		if len(path) > 0 && path[0] == "system" && (strings.HasPrefix(menu[0], "/system lcd") || strings.HasPrefix(menu[0], "/system/lcd")) {
			path = path[1:]
		}
		lcd := len(path) > 0 && path[0] == "lcd" && !strings.Contains(menu[0], "=") &&
			(strings.HasPrefix(menu[0], "/lcd") || strings.HasPrefix(menu[0], "/system"))
		var left []string
		for _, line := range menu {
			if !lcd || !dynamicPage([]byte(line)) {
				left = append(left, line)
			}
		}
		if len(left) > 1 || len(left) == len(menu) {
			for _, line := range left {
				fmt.Fprintln(&out, line)
			}
		}
		i = n
	}
	return out.String()
}
