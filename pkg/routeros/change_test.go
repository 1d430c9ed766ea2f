package routeros

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/confhaul/confhaul/pkg/pacetest"
)

func summaries(changes []Change) []string {
	out := make([]string, 0, len(changes))
	for _, c := range changes {
		out = append(out, c.Summary)
	}
	return out
}

func TestChanges(t *testing.T) {
	t.Parallel()
	const filter = "/ip firewall filter\n"
	const rules = "add action=accept chain=input comment=first\nadd action=accept chain=input comment=second\nadd action=drop chain=input comment=third\nadd action=drop chain=forward comment=fourth\n"
	for _, c := range []struct {
		name, old, new string
		want           []string
	}{
		{"equal", filter + rules, filter + rules, nil},
		{"a router without anything", "", "", nil},
		{"disabled", filter + "add action=accept chain=input comment=allow-dns\n", filter + "add action=accept chain=input comment=allow-dns disabled=yes\n",
			[]string{"/ip firewall filter: rule 'allow-dns' disabled"}},
		{"enabled", filter + "add action=accept chain=input comment=allow-dns disabled=yes\n", filter + "add action=accept chain=input comment=allow-dns disabled=no\n",
			[]string{"/ip firewall filter: rule 'allow-dns' enabled"}},
		{"added", "/interface bridge\n", "/interface bridge\nadd name=bridge1\n", []string{"/interface bridge: 'bridge1' added"}},
		{"added with its menu", "", "/interface bridge\nadd name=bridge1\n", []string{"/interface bridge: 'bridge1' added"}},
		{"removed", "/interface bridge\nadd name=a\nadd name=b\n", "/interface bridge\nadd name=b\n", []string{"/interface bridge: 'a' removed"}},
		{"identity", "/system identity\nset name=a\n", "/system identity\nset name=b\n", []string{"/system identity: name 'a' -> 'b'"}},
		{"identity from the default", "", "/system identity\nset name=\"b c\"\n", []string{"/system identity: name set to 'b c'"}},
		{"identity to the default", "/system identity\nset name=a\n", "", []string{"/system identity: name no longer set (was 'a')"}},
		{"password", "/user\nadd group=full name=x password=old\n", "/user\nadd group=full name=x password=new\n", []string{"/user: 'x': password (changed)"}},
		{"password that comes", "/radius\nadd address=10.0.0.1\n", "/radius\nadd address=10.0.0.1 secret=new\n", []string{"/radius: '10.0.0.1': secret (changed)"}},
		{"passphrase in short", "/interface wifi\nset [ find default-name=wifi1 ] security.wps=no .passphrase=old\n", "/interface wifi\nset [ find default-name=wifi1 ] security.passphrase=new .wps=no\n",
			[]string{"/interface wifi: 'wifi1': security.passphrase (changed)"}},
		{"renamed", "/interface bridge\nadd name=a\nadd mtu=1500 name=b\n", "/interface bridge\nadd name=a\nadd mtu=1500 name=c\n", []string{"/interface bridge: 'b' renamed to 'c'"}},
		{"only a name, renamed", "/interface bridge\nadd name=b\n", "/interface bridge\nadd name=c\n", []string{"/interface bridge: 'b' renamed to 'c'"}},
		{"two parameters", "/interface bridge\nadd mtu=1 name=b x=1\n", "/interface bridge\nadd mtu=2 name=b\n", []string{"/interface bridge: 'b': mtu '1' -> '2', x no longer set (was '1')"}},
		{"many parameters", "/x\nadd name=b\n", "/x\nadd a=1 b=2 c=3 d=4 e=5 f=6 name=b\n",
			[]string{"/x: 'b': a set to '1', b set to '2', c set to '3', d set to '4', 2 more parameters"}},
		{"port", "/interface ethernet\nset [ find default-name=ether1 ] comment=a\n", "/interface ethernet\nset [ find default-name=ether1 ] comment=b name=wan\n",
			[]string{"/interface ethernet: 'ether1': comment 'a' -> 'b', name set to 'wan'"}},
		{"port found by a quoted name", "/a\nset [ find name=\"a b\" ] x=1\n", "/a\nset [ find name=\"a b\" ] x=2\n", []string{"/a: 'a b': x '1' -> '2'"}},
		{"default item", "/a\nset [ find default=yes ] x=1\n", "/a\nset [ find default=yes ] x=2\n", []string{"/a: 'default': x '1' -> '2'"}},
		{"port off", "", "/interface ethernet\nset [ find default-name=ether5 ] disabled=yes\n", []string{"/interface ethernet: 'ether5' disabled"}},
		{"set 0", "/port\nset 0 baud=1\nset 1 baud=1\n", "/port\nset 0 baud=1\nset 1 baud=2\n", []string{"/port: '1': baud '1' -> '2'"}},
		{"set other", "/port\nset 0 baud=1\n", "/port\nset 1 baud=1\n", []string{"/port: '0': baud no longer set (was '1')", "/port: '1': baud set to '1'"}},
		{"remove", "/x\nadd name=a\n", "/x\nremove [ find name=b ]\nadd name=a\n", []string{"/x: line 'remove [ find name=b ]' added"}},
		{"unset", "/x\nset a b=1\n", "/x\nset a !b\n", []string{"/x: 'a': b no longer set (was '1')"}},
		{"address list", "/ip firewall address-list\nadd address=10.0.0.1 comment=x list=a\n", "/ip firewall address-list\nadd address=10.0.0.1 comment=x list=a\nadd address=10.0.0.2 comment=x list=a\n",
			[]string{"/ip firewall address-list: 'a 10.0.0.2' added"}},
		{"defconf is no name", "/ip address\nadd address=10.0.0.1/24 comment=defconf interface=a\n", "/ip address\n", []string{"/ip address: '10.0.0.1/24' removed"}},
		{"without a name", "/x\nadd a=1\nadd b=1\n", "/x\nadd a=1\nadd b=1\nadd c=1\n", []string{"/x: item #3 added"}},
		{"rule without a name", filter + rules, filter + "add action=drop chain=input src-address=10.0.0.1\n" + rules, []string{"/ip firewall filter: rule #1 (input drop) added"}},
		{"equal twice", filter + "add a=1\nadd a=2\nadd a=1\n", filter + "add a=2\nadd a=1\n", []string{"/ip firewall filter: rule #1 removed"}},
		{"equal twice, one more", "/x\nadd a=1 c=3\nadd a=1 c=3\n", "/x\nadd a=1 c=3\nadd a=1 c=3\nadd a=1 c=3\n", []string{"/x: item #3 added"}},
		{"equal twice, one changed", "/x\nadd a=1 c=3\nadd a=1 c=3\n", "/x\nadd a=1 c=3\nadd a=1 c=4\n", []string{"/x: item #2: c '3' -> '4'"}},
		{"one gone, the one below it changed", filter + "add action=accept chain=input src-address=10.0.0.1\nadd action=drop chain=forward dst-port=53 protocol=udp\n", filter + "add action=drop chain=forward dst-port=54 protocol=udp\n",
			[]string{"/ip firewall filter: rule #1 (input accept) removed", "/ip firewall filter: rule #2 (forward drop): dst-port '53' -> '54'"}},
		{"a comment that two have", "/x\nadd a=1 b=2 c=3 comment=y\nadd comment=y d=1 e=2 f=3\n", "/x\nadd comment=y d=1 e=2 f=4\nadd a=1 b=2 c=4 comment=y\n",
			[]string{"/x: 'y': f '3' -> '4'", "/x: 'y': c '3' -> '4'"}},
		{"a comment that one has", "/x\nadd a=1 b=2 c=3 comment=y\n", "/x\nadd comment=y d=1\n",
			[]string{"/x: 'y': d set to '1', a no longer set (was '1'), b no longer set (was '2'), c no longer set (was '3')"}},
		{"another in its place", "/x\nadd a=1 b=2 c=3\n", "/x\nadd a=1 d=2 e=3\n", []string{"/x: item #1 removed", "/x: item #1 added"}},
		{"moved", filter + rules, filter + "add action=drop chain=forward comment=fourth\n" + strings.Replace(rules, "add action=drop chain=forward comment=fourth\n", "", 1),
			[]string{"/ip firewall filter: rule 'fourth' moved from place 4 to 1"}},
		{"moved and changed", filter + rules, filter + "add action=accept chain=forward comment=fourth\n" + strings.Replace(rules, "add action=drop chain=forward comment=fourth\n", "", 1),
			[]string{"/ip firewall filter: rule 'fourth': action 'drop' -> 'accept', moved from place 4 to 1"}},
		{"two moved, one in between gone", "/queue simple\nadd name=a\nadd name=b\nadd name=c\nadd name=d\n", "/queue simple\nadd name=d\nadd name=a\nadd name=c\n",
			[]string{"/queue simple: 'd' moved from place 4 to 1", "/queue simple: 'b' removed"}},
		{"another order where it means nothing", "/ip pool\nadd name=a\nadd name=b\nadd name=c\n", "/ip pool\nadd name=c\nadd name=b\nadd name=a\n", []string{"/ip pool: 2 items in another order"}},
		{"menu gone", "/a\nadd name=x\n" + filter + rules + "/b\nadd name=y\n", "/a\nadd name=x\n/b\nadd name=z\n",
			[]string{"/ip firewall filter: 4 rules removed", "/b: 'y' renamed to 'z'"}},
		{"menu added", "/a\nadd name=x\n", "/a\nadd name=x\n/b\nadd name=y\nadd name=z\n", []string{"/b: 2 items added"}},
		{"menu without items", "/a\nadd name=x\n", "/a\nadd name=x\n/b\n", []string{"/b: menu added"}},
		{"menu without items gone", "/a\nadd name=x\n/b\n", "/a\nadd name=x\n", []string{"/b: menu removed"}},
		{"menus in another order", "/a\nadd name=x\n/b\nadd name=y\n/c\nadd name=z\n", "/c\nadd name=z\n/a\nadd name=x\n/b\nadd name=y\n", []string{"/c: the menu stands elsewhere in the export"}},
		{"laid out in another way", "/a\nadd name=x\n", "/a add name=x\n", []string{"the same configuration, laid out in another way"}},
		{"one line per item", "/a add name=x\n/a add name=y\n", "/a add name=x\n/a add mtu=1 name=y\n", []string{"/a: 'y': mtu set to '1'"}},
		{"paths of two releases", "/ip/pool\nadd name=x\n", "/ip pool\nadd name=y\n", []string{"/ip pool: 'x' renamed to 'y'"}},
		{"menu in two parts", "/a\nadd name=x\n/b\nadd name=y\n/a\nadd name=z\n", "/a\nadd name=x\n/b\nadd name=y\n/a\nadd mtu=1 name=z\n", []string{"/a: 'z': mtu set to '1'"}},
		{"script", "/system script\nadd name=s source=\"a\\r\\\nb\\r\\\nc\"\n", "/system script\nadd name=s source=x\n", nil}, // see below
		{"quotes and escapes", "/x\nadd comment=\"a \\\"b\\\" c\\\\\" name=n\n", "/x\nadd comment=\"a \\\"b\\\" d\\\\\" name=n\n", []string{`/x: 'n': comment 'a "b" c\' -> 'a "b" d\'`}},
		{"only the writing", "/x\nadd name=n y=\"1\"\n", "/x\nadd name=n y=1\n", []string{`/x: 'n': y '"1"' -> '1'`}},
		{"only the order of parameters", "/x\nadd name=n a=1\n", "/x\nadd a=1 name=n\n", []string{"/x: 'n': written in another way"}},
		{"long value", "/x\nadd name=n y=" + strings.Repeat("a", 100) + "b\n", "/x\nadd name=n y=" + strings.Repeat("a", 100) + "c\n", []string{"/x: 'n': y '…aaaaaaaaaaaab' -> '…aaaaaaaaaaaac'"}},
		{"colon line", "/x\nadd a=1\n", "/x\nadd a=1\n:put \"it works\"\n", []string{"/x: line ':put (hidden)' added"}},
		{"quotes that never close", "/x\nadd a=1\n", "/x\nadd a=1\nadd comment=\"x password=y\n", []string{"/x: line 'add comment=(hidden)' added"}},
		{"before the first menu", "add a=1\n", "add a=2\n", []string{"item #1: a '1' -> '2'"}},
		{"not printable", "/x\nadd name=\"\x1b[31m\"\n", "/x\nadd name=\"\x1b[32m\"\n", []string{"/x: '\uFFFD[31m' renamed to '\uFFFD[32m'"}},
	} {
		if c.name == "script" {
			c.old = "/system script\nadd name=s source=\"a\\r\\n:b \\\"\\\\n\\\"\\r\\nc\"\n"
			c.new = "/system script\nadd name=s source=\"a\\r\\nd\\r\\ne\\r\\nf\\r\\nc\"\n"
			c.want = []string{"/system script: 's': source changed, +3 -1 lines"}
		}
		if got := summaries(Changes([]byte(c.old), []byte(c.new))); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestChangeFields(t *testing.T) {
	t.Parallel()
	old := "/a\nadd name=x\n/ip firewall nat\nadd chain=srcnat comment=one\nadd chain=srcnat comment=two\n/ppp secret\nadd name=p password=oldpw profile=a\n/system note\nset note=\"a\\nb\"\n"
	new := "/ip firewall nat\nadd chain=srcnat comment=two\nadd chain=srcnat comment=one\n/ppp secret\nadd name=p password=newpw profile=b\n/system note\nset note=\"a\\nc\\nd\"\n"
	got, err := json.MarshalIndent(Changes([]byte(old), []byte(new)), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if want := string(read(t, "changes.json")); string(got)+"\n" != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	four := make([]Change, 4)
	four[0].Summary = "/ip firewall filter: rule 'allow-dns' disabled"
	for n, want := range map[int]string{0: "", 1: four[0].Summary, 4: four[0].Summary + " (and 3 more)"} {
		if got := Summarize(four[:n]); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// TestChangesOfBranch compares the normal form in testdata with another, and what was written by hand about it.
func TestChangesOfBranch(t *testing.T) {
	t.Parallel()
	got := strings.Join(summaries(Changes(read(t, "branch7.normal"), read(t, "branch7b.normal"))), "\n") + "\n"
	if want := string(read(t, "branch7b.changes")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestChangesOfCorpus compares two versions of one real router.
func TestChangesOfCorpus(t *testing.T) {
	t.Parallel()
	old := Normalize(nil, corpus(t, "networktocode-netutils/compliance__routeros_backup.txt"))
	new := Normalize(nil, corpus(t, "networktocode-netutils/compliance__routeros_intended.txt"))
	want := []string{
		"/routing ospf interface: 'vlan3166-Transit-HalseyCore-Agg1-to-Indigo-5': interface 'vlan3166-Transit-HalseyCore-Agg1-to-Indigo-5' -> 'vlan3166-Transit-Core-Agg1-to-SiteXYZ'",
		"/routing ospf network: '10.127.1.3/32' added",
	}
	if got := summaries(Changes(old, new)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, c := range exports {
		text := Normalize(nil, corpus(t, c.file))
		if got := Changes(text, text); len(got) != 0 {
			t.Errorf("%s against itself: %q", c.file, summaries(got))
		}
		checkEdits(t, c.file, text)
	}
}

func TestChangesOfEdits(t *testing.T) {
	t.Parallel()
	checkEdits(t, "branch7", read(t, "branch7.normal"))
	checkEdits(t, "office6", read(t, "office6.normal"))
	checkEdits(t, "big", Normalize(nil, big(4000)))
}

// checkEdits makes random edits to text and checks that every line that differs is told once.
func checkEdits(t *testing.T, name string, text []byte) {
	t.Helper()
	for seed := range uint64(60) {
		old := text
		new := edit(rand.New(rand.NewPCG(seed, 1)), text)
		if seed%2 == 1 {
			old, new = new, old
		}
		if problem := untold(old, new); problem != "" {
			t.Errorf("%s, seed %d: %s", name, seed, problem)
		}
	}
}

func edit(random *rand.Rand, text []byte) []byte {
	lines := slices.Clone(splitLines(text))
	for range 1 + random.IntN(6) {
		at := random.IntN(len(lines))
		line := bytes.TrimSuffix(lines[at], []byte("\n"))
		switch random.IntN(6) {
		case 0:
			lines = slices.Delete(lines, at, at+1)
		case 1:
			lines = slices.Insert(lines, at, lines[random.IntN(len(lines))])
		case 2:
			lines = slices.Insert(lines, at, []byte(fmt.Sprintf("add name=new%d\n", random.IntN(9))))
		case 3:
			lines[at] = []byte(string(line) + " extra=1\n")
		case 4:
			other := random.IntN(len(lines))
			lines[at], lines[other] = lines[other], lines[at]
		case 5:
			lines[at] = []byte(strings.Replace(string(line), "=", "=x", 1) + "\n")
		}
		if len(lines) == 0 {
			break
		}
	}
	return bytes.Join(lines, nil)
}

// untold compares what Changes tells with a plain count of lines by menu.
func untold(old, new []byte) string {
	changes := Changes(old, new)
	if len(changes) == 0 != bytes.Equal(old, new) {
		return "no change is told"
	}
	a, b := readDocument(old), readDocument(new)
	toldOld, toldNew := map[int]int{}, map[int]int{}
	wholeOld, wholeNew := map[int]bool{}, map[int]bool{}
	for i := range changes {
		switch c := &changes[i]; {
		case c.Count != 1 && c.Action == ActionRemoved:
			wholeOld[c.OldLine] = true
		case c.Count != 1 && c.Action == ActionAdded:
			wholeNew[c.NewLine] = true
		case c.Action == ActionMoved: // its text is equal
		default:
			toldOld[c.OldLine]++
			toldNew[c.NewLine]++
		}
	}
	if problem := untoldSide(a, b, toldOld, wholeOld); problem != "" {
		return "old " + problem
	}
	if problem := untoldSide(b, a, toldNew, wholeNew); problem != "" {
		return "new " + problem
	}
	return ""
}

func untoldSide(d, other *document, told map[int]int, whole map[int]bool) string {
	for _, m := range d.menus {
		count := map[string]int{}
		if same := other.index[m.path]; same != nil {
			for _, command := range same.commands {
				count[string(command)]++
			}
		}
		missing, extra := 0, 0 // of equal lines, any may be the one that is told
		for i, command := range m.commands {
			if told[m.numbers[i]] > 1 {
				return fmt.Sprintf("line %d is told twice", m.numbers[i])
			}
			if count[string(command)]--; count[string(command)] < 0 {
				missing++
			}
			extra += told[m.numbers[i]]
		}
		if whole[m.line] {
			if extra > 0 {
				return m.path + ": told as a whole and in parts"
			}
			continue
		}
		if extra != missing {
			return fmt.Sprintf("%s: %d lines differ, %d are told", m.path, missing, extra)
		}
	}
	return ""
}

// TestChangesAreBounded compares texts that have much and nothing in common.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	size := pacetest.Fewer(2_000_000)
	for name, textFunc := range map[string]func(i, side int) string{
		"every line changed":        func(i, side int) string { return fmt.Sprintf("add action=drop chain=input src-address=%d.%d", i, side) },
		"nothing in common":         func(i, side int) string { return fmt.Sprintf("add a%d=%d b%d=%d", side, i, side, i) },
		"equal lines":               func(i, side int) string { return fmt.Sprintf("add a=%d", i%(2+side)) },
		"another order":             func(i, side int) string { return fmt.Sprintf("add a=%d", i^side*0x2a) },
		"the other way round":       func(i, side int) string { return fmt.Sprintf("add a=%d", max(i, -i)*(1-2*side)) },
		"each in a menu of its own": func(i, side int) string { return fmt.Sprintf("/a%d\nadd b=%d", i, side) },
	} {
		var texts [2][]byte
		for side := range texts {
			texts[side] = []byte("/ip firewall filter\n")
			for i := 0; len(texts[side]) < size; i++ {
				texts[side] = append(texts[side], textFunc(i, side)+"\n"...)
			}
		}
		start := time.Now()
		n := len(Changes(texts[0], texts[1]))
		if took := time.Since(start); took > time.Minute { // about 0.2 s on an idle machine
			t.Errorf("%s: %d changes in %s", name, n, took)
		} else {
			t.Logf("%s: %d changes in %s", name, n, took)
		}
	}
}

func FuzzChanges(f *testing.F) {
	f.Add(read(f, "branch7.normal"), read(f, "branch7b.normal"))
	f.Add(read(f, "office6.normal"), read(f, "branch7.normal"))
	for _, s := range []string{"", "/", "add\n", "/a\nset [ find a=\"b\nset [ find ] .x=1\n", "/a\nadd !b c= \"d\" =\n", "/a add b=1\n/a\n", "/a\nadd a=\"\\n\\\\n\\\n"} {
		f.Add([]byte(s), []byte("/a\nadd b=1 c=2\nset x .y=1\n"))
	}
	f.Fuzz(func(t *testing.T, old, new []byte) {
		if len(Changes(old, old)) > 0 {
			t.Fatal("a text differs from itself")
		}
		if problem := untold(old, new); problem != "" {
			t.Fatal(problem)
		}
		for _, c := range Changes(old, new) {
			if c.Summary == "" || len(c.Summary) > 4000 || !utf8.ValidString(c.Summary) || strings.ContainsAny(c.Summary, "\n\x1b") {
				t.Fatalf("summary %q", c.Summary)
			}
		}
		checkUnified(t, old, new)
		UnifiedRedacted(old, new, "a", "b", 3)
	})
}

func BenchmarkChanges(b *testing.B) {
	for _, c := range []struct {
		name           string
		bytes, changed int
	}{{"100KB/1", 100_000, 1}, {"2MB/1000", 2_000_000, 1000}, {"100KB/all", 100_000, 1 << 30}} {
		old := Normalize(nil, big(c.bytes))
		lines := splitLines(old)
		new := make([]byte, 0, len(old))
		for i, line := range lines {
			if step := max(1, len(lines)/c.changed); i%step == step/2 {
				line = bytes.Replace(line, []byte("delivered"), []byte("supplied"), 1)
			}
			new = append(new, line...)
		}
		for name, work := range map[string]func() int{
			"changes":  func() int { return len(Changes(old, new)) },
			"unified":  func() int { return len(Unified(old, new, "a", "b", 3)) },
			"redacted": func() int { return len(UnifiedRedacted(old, new, "a", "b", 3)) },
		} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n = work()
				}
				b.ReportMetric(float64(n), "results")
			})
		}
	}
}
