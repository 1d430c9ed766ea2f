package cli

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestSearcher finds the same lines as the expression alone, line by line.
func TestSearcher(t *testing.T) {
	t.Parallel()
	text := "/ip service\nset telnet disabled=yes\n\nset ssh port=22\nadd name=\"ssh ssh\" Port=22\xff\nlast ssh"
	texts := []string{text, text + "\n", "", "\n", "\n\n", "ssh", "no", "\u017fsh \u212aelvin", "SSH kelvin\nssK"}
	for expression, must := range map[string]string{
		"ssh": "ssh", "^set": "set", "yes$": "yes", "port=(22|23)": "port=", "(?i)PORT": "port", "(?i)SsH.*k": "ssh", "(?i)ü": "", "(?i)käse": "", "(abc|ssh)": "", "s*": "", "(ssh)+ ": "ssh", "x{0}set": "set",
		"(?:set){2,3}": "set", `^$`: "", `\bssh\b.*\bport`: "port", "a.c": "a", `\Aset`: "set", "service\nset": "service\nset", "\\x{fffd}": "", ".": "", "22.": "22",
		"(?i)s(?-i)sh": "sh",
	} {
		s, err := newSearcher(expression)
		if err != nil {
			t.Fatal(err)
		}
		if string(s.must) != must {
			t.Errorf("%q must hold %q, want %q", expression, s.must, must)
		}
		re := regexp.MustCompile(expression)
		for _, text := range texts {
			var want, got []string
			for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
				if text != "" && re.MatchString(line) {
					want = append(want, fmt.Sprint(i+1, line))
				}
			}
			err := s.lines([]byte(text), func(n int, line []byte, from, to int) error {
				if at := re.FindIndex(line); at == nil || at[0] != from || at[1] != to {
					t.Errorf("%q in %q at %d %d", expression, line, from, to)
				}
				got = append(got, fmt.Sprint(n, string(line)))
				return nil
			})
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || s.match([]byte(text)) != (len(want) > 0) {
				t.Errorf("%q in %q: %q, want %q", expression, text, got, want)
			}
		}
	}
}

func TestAround(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("a", 100) + "HIT" + strings.Repeat("z", 100)
	for _, n := range []int{40, 41, 80, 203, 300} {
		for from := range len(line) {
			for _, to := range []int{from, min(from+3, len(line)), len(line)} {
				before, hit, after := around(line, from, to, n)
				if got := len([]rune(before + hit + after)); got > n || got < min(n, len(line))-2 {
					t.Fatalf("%d to %d in %d columns: %d", from, to, n, got)
				}
			}
		}
	}
	if before, hit, after := around(line, 100, 103, 21); before != "…aaaaaaaa" || hit != "HIT" || after != "zzzzzzzz…" {
		t.Errorf("%s|%s|%s", before, hit, after)
	}
}
