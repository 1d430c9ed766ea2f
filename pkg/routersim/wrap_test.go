package routersim

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// words takes a joined command apart at the spaces outside quotes.
func words(line string) []string {
	var out []string
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted:
			out = append(out, line[start:i])
			start = i + 1
		}
	}
	return append(out, line[start:])
}

// altered are commands of the recordings whose values were shortened by whoever published them, or that come from a
// terminal of another width: their breaks are not those of the text that is left.
var altered = []string{
	"name=doPollingScripts", "identity=\"xxx\"", "mac-address=2E:28:C3:96:80:D3", "add address=192.0.2.1/24 comment=defconf",
	"src-address-list=\x00\"nms\"", "location=\"Riga, LATIVA\"",
}

func isAltered(line string) bool {
	return slices.ContainsFunc(altered, func(s string) bool { return strings.Contains(line, s) })
}

// TestWrapMatchesRealExports joins the commands of recorded exports and wraps them again.
func TestWrapMatchesRealExports(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../shared/routeros/corpus/*/*/*.rsc")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no recorded exports here")
	}
	total := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "\r\n", "\n")
		text = regexp.MustCompile(`\\\n {4}`).ReplaceAllString(text, "\x00")
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "add ") && !strings.HasPrefix(line, "set ") || !strings.Contains(line, "\x00") || isAltered(line) {
				continue
			}
			want := strings.ReplaceAll(line, "\x00", "\\\n    ") + "\n"
			joined := strings.ReplaceAll(strings.ReplaceAll(line, "\x00\\_", " "), "\x00", "")
			var sb strings.Builder
			wrapCommand(&sb, words(joined), WidthDefault)
			got := strings.ReplaceAll(sb.String(), "\r\n", "\n")
			total++
			if got != want {
				t.Errorf("%s:\n got %s\nwant %s", filepath.Base(file), got, want)
			}
		}
	}
	if total < 100 {
		t.Errorf("wrapped %d commands, want at least 100", total)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, v6, v7 string }{
		{"defconf", "defconf", "defconf"},
		{"!LAN", "!LAN", "!LAN"},
		{"", `""`, `""`},
		{"two words", `"two words"`, `"two words"`},
		{`say "hi"`, `"say \"hi\""`, `"say \"hi\""`},
		{"ok?", `"ok\?"`, `"ok?"`},
		{`a\b$c`, `"a\\b\$c"`, `"a\\b\$c"`},
		{"a\r\n\tb", `"a\r\n\tb"`, `"a\r\n\tb"`},
		{"\xD0\x9F", `"\D0\9F"`, `"\D0\9F"`},
		{"key=", `"key="`, `"key="`},
		{strings.Repeat("x", 74), `"` + strings.Repeat("x", 74) + `"`, `"` + strings.Repeat("x", 74) + `"`},
	} {
		if got := quote(c.in, true); got != c.v6 {
			t.Errorf("quote(%q) for v6 = %s, want %s", c.in, got, c.v6)
		}
		if got := quote(c.in, false); got != c.v7 {
			t.Errorf("quote(%q) for v7 = %s, want %s", c.in, got, c.v7)
		}
	}
}

func TestWrapSpaceAtBreak(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	wrapCommand(&b, []string{"add", `comment="` + strings.Repeat("x", 65) + ` ` + strings.Repeat("y", 20) + `"`}, WidthDefault)
	want := "add comment=\"" + strings.Repeat("x", 65) + "\\\r\n    \\_" + strings.Repeat("y", 20) + "\"\r\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
