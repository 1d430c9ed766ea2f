package routeros

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, want string }{
		{"equal", "a\nb\n", "a\nb\n", ""},
		{"changed", "a\nb\nc\nd\ne\n", "a\nb\nx\nd\ne\n", "@@ -2,3 +2,3 @@\n b\n-c\n+x\n d\n"},
		{"added", "a\nb\n", "a\nx\nb\n", "@@ -1,2 +1,3 @@\n a\n+x\n b\n"},
		{"removed at the end", "a\nb\nc\n", "a\nb\n", "@@ -2,2 +2 @@\n b\n-c\n"},
		{"from nothing", "", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"to nothing", "a\n", "", "@@ -1 +0,0 @@\n-a\n"},
		{"two near each other", "a\nb\nc\nd\n", "x\nb\nc\ny\n", "@@ -1,4 +1,4 @@\n-a\n+x\n b\n c\n-d\n+y\n"},
		{"two apart", "a\nb\nc\nd\ne\n", "x\nb\nc\nd\ny\n", "@@ -1,2 +1,2 @@\n-a\n+x\n b\n@@ -4,2 +4,2 @@\n d\n-e\n+y\n"},
		{"no line end", "a\nb", "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
		{"repeated lines", "a\nb\na\nc\n", "a\nb\na\nb\na\nc\n", "@@ -3,2 +3,4 @@\n a\n+b\n+a\n c\n"},
	} {
		if c.want != "" {
			c.want = "--- old\n+++ new\n" + c.want
		}
		if got := Unified([]byte(c.old), []byte(c.new), "old", "new", 1); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
		checkUnified(t, []byte(c.old), []byte(c.new))
	}
}

func TestUnifiedOfEdits(t *testing.T) {
	t.Parallel()
	text := read(t, "branch7.normal")
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 2))
		checkUnified(t, edit(random, text), edit(random, text))
	}
	for seed := range uint64(100) { // few distinct lines
		random := rand.New(rand.NewPCG(seed, 3))
		var texts [2][]byte
		for side := range texts {
			for range random.IntN(40) {
				texts[side] = fmt.Appendf(texts[side], "%d\n", random.IntN(12))
			}
		}
		checkUnified(t, texts[0], texts[1])
	}
}

// checkUnified applies the difference of two texts to the old one, and compares the lines in it with Stat.
func checkUnified(t *testing.T, old, new []byte) {
	t.Helper()
	for context := range 4 {
		text := Unified(old, new, "a", "b", context)
		got, added, removed := apply(t, splitLines(old), text)
		if !bytes.Equal(got, new) {
			t.Fatalf("context %d: %q applied to %q gives %q, want %q", context, text, old, got, new)
		}
		if a, r := Stat(old, new); a != added || r != removed {
			t.Fatalf("%d added and %d removed, Stat says %d and %d", added, removed, a, r)
		}
	}
}

func apply(t *testing.T, old [][]byte, diff string) (out []byte, added, removed int) {
	t.Helper()
	at := 0
	lines := strings.SplitAfter(diff, "\n")
	for i := 2; i < len(lines); i++ { // after the two names
		line := lines[i]
		if line == "" {
			continue
		}
		if i+1 < len(lines) && strings.HasPrefix(lines[i+1], "\\ No newline") {
			line = strings.TrimSuffix(line, "\n")
		}
		switch line[0] {
		case '@':
			from, count, short := strings.Cut(strings.Fields(line)[1][1:], ",")
			n, err := strconv.Atoi(from)
			if err != nil {
				t.Fatal(err)
			}
			if !short || count != "0" {
				n--
			}
			for ; at < n; at++ {
				out = append(out, old[at]...)
			}
		case '+':
			out = append(out, line[1:]...)
			added++
		case ' ', '-':
			if at >= len(old) || string(old[at]) != line[1:] {
				t.Fatalf("%q does not apply at line %d", line, at+1)
			}
			if line[0] == ' ' {
				out = append(out, old[at]...)
			} else {
				removed++
			}
			at++
		}
	}
	return append(out, bytes.Join(old[at:], nil)...), added, removed
}

func TestUnifiedRedacted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, want string }{
		{"changed", "/ppp secret\nadd name=a password=one profile=x\n", "/ppp secret\nadd name=a password=\"t wo\" profile=x\n",
			" /ppp secret\n-add name=a password=(changed) profile=x\n+add name=a password=(changed) profile=x\n"},
		{"not changed", "/ppp secret\nadd name=a password=one profile=x\n", "/ppp secret\nadd name=a password=one profile=y\n",
			" /ppp secret\n-add name=a password=(hidden) profile=x\n+add name=a password=(hidden) profile=y\n"},
		{"beside it", "/ppp secret\nadd name=a password=one\n", "/ppp secret\nadd name=a password=one\nadd name=b password=two\n",
			" /ppp secret\n add name=a password=(hidden)\n+add name=b password=(hidden)\n"},
		{"on the line of its menu", "/radius add address=1.1.1.1 secret=a\n", "/radius add address=1.1.1.1 secret=b\n",
			"-/radius add address=1.1.1.1 secret=(changed)\n+/radius add address=1.1.1.1 secret=(changed)\n"},
		{"in short", "/interface wifi\nset x security.wps=no .passphrase=a\n", "/interface wifi\nset x security.wps=no .passphrase=b\n",
			" /interface wifi\n-set x security.wps=no .passphrase=(changed)\n+set x security.wps=no .passphrase=(changed)\n"},
		{"script", "/system script\nadd name=s source=\"a\\nb\"\n", "/system script\nadd name=s source=\"a\\nc\"\n",
			" /system script\n-add name=s source=(changed)\n+add name=s source=(changed)\n"},
		{"empty", "/ppp secret\nadd name=a password=\"\"\n", "/ppp secret\nadd name=b password=\"\"\n", " /ppp secret\n-add name=a password=\"\"\n+add name=b password=\"\"\n"},
		{"no command", "/x\n:put \"one\" two\n", "/x\n", " /x\n-:put (hidden) two\n"},
		{"quotes that never close", "/x\nadd comment=\"a password=b\n", "/x\n", " /x\n-add comment=(hidden)\n"},
	} {
		_, got, _ := strings.Cut(UnifiedRedacted([]byte(c.old), []byte(c.new), "old", "new", 3), " @@\n")
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// TestSecretsStay puts a value into each sensitive parameter and looks for it in all that is told.
func TestSecretsStay(t *testing.T) {
	t.Parallel()
	for name, menus := range sensitive {
		menu := "/interface"
		if menus != nil {
			menu = menus[0]
		}
		for _, verb := range []string{"add name=x ", "add ", "set ", "set [ find default-name=x ] ", "set 0 a.b=1 .", "remove "} {
			text := func(value string) []byte {
				return []byte(menu + "\n" + verb + name + "=" + value + " y=" + strings.Trim(value, `"`)[:1] + "\n")
			}
			for _, c := range []struct{ old, new []byte }{
				{text("1leak"), text(`"2leak \" 3leak"`)}, {text("1leak"), nil}, {nil, text("2leak")}, {text("1leak"), []byte(menu + "\n" + verb + "y=1\n")},
			} {
				told := fmt.Sprintf("%+v", Changes(c.old, c.new)) + UnifiedRedacted(c.old, c.new, "a", "b", 9) + UnifiedRedacted(c.old, c.new, "a", "b", -1)
				if strings.Contains(told, "leak") {
					t.Errorf("%s %s%s: %s", menu, verb, name, told)
				}
			}
		}
	}
}

// TestRedactedContext: lines around a change hide their secrets too, however many are shown.
func TestRedactedContext(t *testing.T) {
	t.Parallel()
	var old, new strings.Builder
	for i := range 60 {
		line := fmt.Sprintf("/ppp secret\nadd name=n%d password=leak%d\n", i, i)
		old.WriteString(line)
		if i%13 == 5 {
			line = strings.Replace(line, "name=n", "name=m", 1)
		}
		new.WriteString(line)
	}
	for context := range 20 {
		if told := UnifiedRedacted([]byte(old.String()), []byte(new.String()), "a", "b", context); strings.Contains(told, "leak") || !strings.Contains(told, "+add name=m5 password=(hidden)") {
			t.Fatalf("context %d: %s", context, told)
		}
	}
}

// TestPasswordsWithoutSwitch: what RouterOS calls no secret and lets somebody in is in no difference either.
func TestPasswordsWithoutSwitch(t *testing.T) {
	t.Parallel()
	text := func(secret string) []byte {
		return []byte("/container envs\nadd key=DB_PASSWORD name=env value=" + secret + "\n/snmp\nset enabled=yes trap-community=" + secret +
			"\n/snmp community\nset [ find default=yes ] name=d" + secret + "\nset [ find name=" + secret + " ] addresses=::/0\nadd addresses=::/0 name=" + secret + "\n")
	}
	old, new := text("hushold"), text("hushnew")
	told := UnifiedRedacted(old, new, "a", "b", 3)
	for _, pair := range [][2][]byte{{old, new}, {nil, new}, {old, nil}, {[]byte("/snmp community\n"), new}} {
		for _, c := range Changes(pair[0], pair[1]) {
			told += fmt.Sprintf("%+v\n", c)
		}
	}
	if strings.Contains(told, "hush") {
		t.Error(told)
	}
}
