package routeros

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
)

const small = header + "/ip address\nadd address=192.0.2.1/24 comment=\"up \\\n    # link\" interface=ether1\n/system identity\nset name=r1\n"

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want    Want
		command string
	}{
		{Want{}, `/export show-sensitive; :put "m1"`},
		{Want{Major: 7}, `/export show-sensitive; :put "m1"`},
		{Want{Major: 8}, `/export show-sensitive; :put "m1"`},
		{Want{Major: 7, Hide: true}, `/export; :put "m1"`},
		{Want{Hide: true}, `/export hide-sensitive; :put "m1"`},
		{Want{Major: 6}, `/export; :put "m1"`},
		{Want{Major: 6, Hide: true}, `/export hide-sensitive; :put "m1"`},
	} {
		if got := Command(c.want, "m1"); got != c.command {
			t.Errorf("%+v: %q, want %q", c.want, got, c.command)
		}
	}
	if got := Command(Want{Major: 6}, ""); got != "/export" {
		t.Errorf("without a marker: %q", got)
	}
}

func TestMajor(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{"7.24rc2": 7, "6.48beta12": 6, "10.1": 10, "7": 7, "": 0, "x7": 0, "99999999999999999999.1": 0} {
		if got := Major(version); got != want {
			t.Errorf("Major(%q) is %d, want %d", version, got, want)
		}
	}
}

func TestProveReadsTheRouter(t *testing.T) {
	t.Parallel()
	text := read(t, "branch7.rsc")
	output := append(slices.Clone(text), marker+"\r\n"...)
	want := Verdict{
		Complete: true, Proof: ProofMarker,
		Version: "7.16.2", SoftwareID: "ABCD-0123", Model: "RB5009UG+S+", SerialNumber: "HX0000000AA", Identity: `Branch 7 П "north"`,
		Secrets: 1, Sensitive: SensitiveShown,
		Gaps: []Gap{{Menu: "/system/routerboard/mode-button"}}, Text: text, Normal: read(t, "branch7.normal"),
	}
	got := Prove(nil, output, marker, Want{Major: 7}, []string{"/system routerboard mode-button"})
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if &got.Text[0] != &output[0] || cap(got.Text) != len(text) {
		t.Error("the text is not a closed part of the output")
	}

	got = Prove(nil, crlf(read(t, "office6.rsc")), "", Want{Major: 6}, []string{"/interface bridge calea"})
	if !got.Complete || got.Proof != ProofNone || got.Version != "6.49.17" || got.SoftwareID != "" || got.Model != "951Ui-2HnD" || got.Identity != "office6" {
		t.Errorf("%+v", got)
	}
}

func TestProveHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, version string }{
		{"# sep/25/2018 10:10:52 by RouterOS 6.42.5", "6.42.5"},
		{"# sep/ 2/2020  3: 9:38 by RouterOS 7.1.3", "7.1.3"},
		{"# 2023-06-01 12:16:16 by RouterOS 7.10rc1", "7.10rc1"},
		{"# 1970-01-02 00:46:38 by RouterOS 7.17", "7.17"},
		{"# by RouterOS 6.49.6", "6.49.6"},
		{"# 2026-03-01 04:10:07 by RouterOS 7.24.5 ", "7.24.5"},
		{"# written by RouterOS fans", ""},
		{"# model = x, by RouterOS 7.1", ""},
		{"#by RouterOS 7.1", ""},
		{"# 2026-03-01 04:10:07 by RouterOS ", ""},
		{"# 2026-03-01 04:10:07 by Router", ""},
	} {
		v := Prove(nil, []byte(c.line+"\r\n# system id = hx/HCG56PsC \r\n/ip address\r\n"+marker+"\r\n"), marker, Want{}, nil)
		if v.Version != c.version || v.Complete != (c.version != "") {
			t.Errorf("%q: version %q, %s", c.line, v.Version, v.Reason)
		}
		if c.version != "" && v.SoftwareID != "hx/HCG56PsC" {
			t.Errorf("%q: software id %q", c.line, v.SoftwareID)
		}
	}
}

func TestProveIdentity(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/system identity\nset name=r1\n":                                       "r1",
		"/system identity\r\nset name=r1\r\n/ip\r\nset name=x\r\n":              "r1",
		"/system/identity\nset name=r1\n":                                       "r1",
		"/system identity set name=r1\n/ip\n":                                   "r1",
		"/system identity\nset name=\\\n    \"two\\\n    \\_words\"\n/ip\n":     "two words",
		`/system identity` + "\n" + `set name="a\"b\\c\$d\?\n\D0\9F\1B"` + "\n": "a\"b\\c$d? П\uFFFD",
		"/system identity\nset name=\"a\\_b\"\n":                                "a b",
		"/system identity\nset name=\"" + strings.Repeat(`\1B`, 200) + "\"\n":   strings.Repeat("\uFFFD", maxField/3),
		"/ip\nset name=x\n":                                             "",
		"/system identityx\nset name=x\n":                               "",
		"/ip\nadd comment=\"/system identity\\\n    set name=x\"\n":     "",
		"/system identity\nset name=" + strings.Repeat("é", 300) + "\n": strings.Repeat("é", maxField/2),
	} {
		if v := Prove(nil, []byte(header+text), "", Want{}, nil); v.Identity != want || !v.Complete {
			t.Errorf("%q: identity %q, want %q; %s", text, v.Identity, want, v.Reason)
		}
	}
}

// after puts a line between the last line of small and the marker.
func after(line string) string { return small + line + "\n" + marker + "\n" }

func TestProveRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, output string
		kind         fault.Kind
		reason       string // a part of it
	}{
		{"nothing", "", fault.Incomplete, "no export"},
		{"blank lines", "\r\n \r\n", fault.Incomplete, "no export"},
		{"marker only", marker + "\r\n", fault.Incomplete, "policy=ssh,read,sensitive"},
		{"no marker", small, fault.Incomplete, "output ended after 219 bytes, in line 10, without the end marker"},
		{"no marker, cure", small, fault.Incomplete, "\"large_export: sftp\" for the device and give its user's group policy=ssh,read,sensitive,write,ftp"},
		{"half a marker", small + marker[:9], fault.Incomplete, "without the end marker"},
		{"marker within a line", small + "x" + marker + "\n", fault.Incomplete, "line 11"},
		{"marker in a value", header + "/ip\nadd comment=" + marker + "\n", fault.Incomplete, "without the end marker"},
		{"text after the marker", small + marker + "\nadd a=b\n", fault.Incomplete, "line 11: more text after the end marker"},
		{"marker twice", small + marker + "\n" + marker + "\n", fault.Incomplete, "line 11: more text after"},
		{"no header", "/ip\nadd a=b\n" + marker + "\n", fault.Incomplete, "no header"},
		{"header after the first menu", "/ip\n" + header + "/ip\n" + marker + "\n", fault.Incomplete, "no header"},
		{"no menu", header + marker + "\n", fault.Incomplete, "no menu follows"},
		{"cut in a line", header + "/ip\nadd a=b" + marker + "\n", fault.Incomplete, "without the end marker"},
		{"cut in a wrap", header + "/ip\nadd a=\\\n" + marker + "\n", fault.Incomplete, "ends inside line 7"},
		{"interrupted", after("#interrupted"), fault.Incomplete, "line 11: the router says that the export was interrupted"},
		{"interrupted after a wrap", header + "/ip\nadd a=\\\n#interrupted\n", fault.Incomplete, "interrupted"},
		{"interrupted within", after("interrupted"), fault.Incomplete, "line 11: the router says"},
		{"interrupted at once", "interrupted\r\n", fault.Rejected, `line 1: the router answered "interrupted" instead`},
		{"parse error", "bad command name routerboard (line 1 column 9)\r\n", fault.Rejected, `"bad command name routerboard (line 1 column 9)"`},
		{"unknown parse error", "odd value of export (line 1 column 9)\r\n", fault.Rejected, "odd value of export"},
		{"failure", after("failure: already have such address"), fault.Rejected, `line 11: the router answered "failure: already have such address" within`},
		{"failure after a wrap", header + "/ip\nadd a=\\\nstd failure: timeout (13)\n" + marker + "\n", fault.Rejected, "line 8"},
		{"input does not match", "input does not match any value of interface\n", fault.Rejected, "input does"},
		{"invalid value", "invalid value for argument\n", fault.Rejected, "invalid value"},
		{"no such item", "no such item\n", fault.Rejected, "no such item"},
		{"permissions", "not enough permissions (9)\r\n" + marker + "\r\n", fault.Permission, "policy=ssh,read,sensitive"},
		{"permissions after prose", "hello\nnot enough permissions (9)\nbye\n", fault.Permission, "line 2"},
		{"permissions within", after("not enough permissions (9)"), fault.Permission, "line 11"},
		{"prompt", after("[admin@MikroTik] > "), fault.Incomplete, "line 11: a console prompt"},
		{"prompt in a menu", after("[admin@MikroTik] /ip/route<SAFE> print"), fault.Incomplete, "prompt"},
		{"prompt without its head", after("/interface/detect-internet> export"), fault.Incomplete, "prompt"},
		{"prompt before the header", "[admin@MikroTik] > /export\n" + small + marker + "\n", fault.Incomplete, "line 1: a console prompt"},
		{"login screen", `Please press "Enter" to continue!` + "\n" + small + marker + "\n", fault.Incomplete, "line 1: the text of a login screen"},
		{"login screen like an item", after(`remove this default configuration type "r"`), fault.Incomplete, "line 11: the text of a login screen"},
		{"banner", "  MikroTik RouterOS 7.16 (c) 1999-2024\n" + small + marker + "\n", fault.Incomplete, "line 1"},
		{"two exports", after("") + small, fault.Incomplete, "a second header"},
		{"gap with a note", after(`#error exporting "/ip/upnp" (timed out)`), fault.Incomplete, "did not answer in time"},
		{"prose", after("action timed out"), fault.Incomplete, "line 11: a text of 16 bytes that is neither"},
		{"prose, cut", "action timed out", fault.Incomplete, "a text of 16 bytes that is neither"},
		{"escape sequence", after("\x1b[m\x1b[K"), fault.Incomplete, "a text of 6 bytes"},
		{"a verb's beginning", after("addition a=b"), fault.Incomplete, "line 11"},
		{"item before the first menu", header + "set a=b\n/ip\n" + marker + "\n", fault.Incomplete, "line 6: an item without its menu"},
		{"gap", after("#error exporting /ip socks"), fault.Incomplete, "line 11: the router could not export menu /ip socks: seen for the first time"},
		{"gap that timed out", after(`#error exporting "/ip/upnp" (timeout)`), fault.Incomplete, "line 11: menu /ip/upnp did not answer in time"},
	} {
		for form, output := range map[string][]byte{"lf": []byte(c.output), "crlf": crlf(lf([]byte(c.output)))} {
			v := Prove(nil, output, marker, Want{Major: 7}, []string{"/ip/upnp", "/ip/x"})
			if v.Complete || v.Kind != c.kind {
				t.Errorf("%s, %s: complete %t, kind %q, %s", c.name, form, v.Complete, v.Kind, v.Reason)
			}
			if form == "lf" && !strings.Contains(v.Reason, c.reason) {
				t.Errorf("%s: reason %q lacks %q", c.name, v.Reason, c.reason)
			}
		}
	}
}

func TestProveAccepts(t *testing.T) {
	t.Parallel()
	for name, output := range map[string]string{
		"plain":                  small + marker + "\n",
		"crlf":                   string(crlf([]byte(small + marker + "\n"))),
		"no newline after":       small + marker,
		"blank lines round":      "\r\n" + small + "\r\n" + marker + " \r\n\r\n",
		"standing gaps":          after("#error exporting /ip socks\n#error exporting \"/ip/upnp\"\n#error exporting '/ip/x'"),
		"status comments":        after("# interrupted\n# failure: x\n# lte1 not ready"),
		"words within values":    after("add comment=\"x\\\n    interrupted\\\n    #interrupted\\\n    [a@b] > \\\n    " + marker + "\""),
		"verbs":                  after("remove [ find ]\nunset a\nenable 0\ndisable 0\nmove 0 1\nset"),
		"wrap without an indent": after("add comment=\\\nx"),
		"one line per item":      after("/ip service set telnet disabled=yes comment=\"a > b\""),
		"dynamic name":           after("/lcd page set <pppoe-a> b"),
	} {
		v := Prove(nil, []byte(output), marker, Want{Major: 7}, []string{"/ip/socks", "/ip upnp", "/ip/x"})
		if !v.Complete || v.Kind != "" || v.Reason != "" || v.Proof != ProofMarker {
			t.Errorf("%s: %q: %s", name, output, v.Reason)
		}
	}
}

func TestProveRefetch(t *testing.T) {
	t.Parallel()
	const refused = "expected end of command (line 1 column 9)\r\n"
	seven := small + marker + "\n"
	six := strings.Replace(seven, "7.16.2", "6.49.6", 1)
	for _, c := range []struct {
		name   string
		want   Want
		output string
		as     int
		kind   fault.Kind
	}{
		{"show-sensitive refused", Want{Major: 7}, refused, 6, fault.Rejected},
		{"show-sensitive refused, unknown router", Want{}, refused, 6, fault.Rejected},
		{"plain refused", Want{Major: 6}, refused, 0, fault.Rejected},
		{"plain refused, hiding", Want{Major: 7, Hide: true}, refused, 0, fault.Rejected},
		{"hide-sensitive refused", Want{Major: 6, Hide: true}, refused, 7, fault.Rejected},
		{"6 as 6", Want{Major: 6}, six, 0, ""},
		{"hide-sensitive refused, unknown router", Want{Hide: true}, refused, 7, fault.Rejected},
		{"6 as 6, hiding", Want{Major: 6, Hide: true}, six, 0, ""},
		{"6 as unknown, hiding", Want{Hide: true}, six, 0, ""},
		{"6 as 7, hiding, cut", Want{Major: 7, Hide: true}, six[:100], 6, fault.Incomplete},
		{"7 as 6 lacks secrets", Want{Major: 6}, seven, 7, fault.Incomplete},
		{"7 as 6, hiding", Want{Major: 6, Hide: true}, seven, 0, ""},
		{"7 as 7", Want{Major: 7}, seven, 0, ""},
		{"7 as 7, hiding", Want{Major: 7, Hide: true}, seven, 0, ""},
		{"8 as 6", Want{Major: 6}, strings.Replace(seven, "7.16.2", "8.0", 1), 7, fault.Incomplete},
	} {
		v := Prove(nil, []byte(c.output), marker, c.want, nil)
		if v.Refetch != c.as || v.Kind != c.kind || v.Complete != (c.kind == "") {
			t.Errorf("%s: refetch %d, kind %q, complete %t: %s", c.name, v.Refetch, v.Kind, v.Complete, v.Reason)
		}
	}
}

// TestProveMarkerRefused: the column tells a release that does not take the marker from one that lacks the option.
func TestProveMarkerRefused(t *testing.T) {
	t.Parallel()
	show, plain := Want{Major: 7}, Want{Major: 6}
	for _, c := range []struct {
		want    Want
		output  string
		refetch int
		twice   bool
	}{
		{show, "expected end of command (line 1 column 9)", 6, false},
		{show, "expected end of command (line 1 column 22)", 6, false},
		{show, "expected end of command (line 1 column 23)", 0, true},
		{show, "syntax error (line 1 column 24)", 0, true},
		{show, "bad command name :put (line 1 column 25)", 0, true},
		{show, "syntax error (line 1 column 3)", 0, false},
		{show, "expected end of command", 6, false},
		{show, "syntax error", 0, false},
		{plain, "expected end of command (line 1 column 7)", 0, false},
		{plain, "expected end of command (line 1 column 8)", 0, true},
		{plain, "syntax error (line 1 column 9)", 0, true},
		{show, small + "expected end of command (line 1 column 23)", 0, true},
		{show, "expected end of command (line 1 column 99999999999999999999)", 0, true},
	} {
		v := Prove(nil, []byte(c.output+"\r\n"), marker, c.want, nil)
		if v.Kind != fault.Rejected || v.Refetch != c.refetch || strings.Contains(v.Reason, `"proof: twice"`) != c.twice {
			t.Errorf("%+v, %q: kind %q, refetch %d: %s", c.want, c.output, v.Kind, v.Refetch, v.Reason)
		}
		if v := Prove(nil, []byte(c.output+"\r\n"), "", c.want, nil); v.Kind != fault.Rejected || strings.Contains(v.Reason, "twice") {
			t.Errorf("%q without a marker: kind %q, %s", c.output, v.Kind, v.Reason)
		}
	}
}

// TestProveCutAnywhere cuts an export at every byte, as a router's SSH server may, with and without the marker after it.
func TestProveCutAnywhere(t *testing.T) {
	t.Parallel()
	text := crlf(read(t, "branch7.rsc"))
	standing := []string{"/system/routerboard/mode-button"}
	output := append(slices.Clone(text), marker+"\r\n"...)
	whole := len(text) + len(marker)
	for n := range output {
		if v := Prove(nil, output[:n], marker, Want{}, standing); v.Complete != (n >= whole) {
			t.Fatalf("cut at %d of %d: complete %t, %s", n, whole, v.Complete, v.Reason)
		}
	}
	for n := range text {
		v := Prove(nil, append(slices.Clone(text[:n]), marker+"\r\n"...), marker, Want{}, standing)
		if v.Complete && (!bytes.HasSuffix(text[:n], []byte("\n")) || bytes.HasSuffix(text[:n], []byte("\\\r\n"))) {
			t.Fatalf("the tail cut at %d, before the marker, was accepted", n)
		}
	}
	for n := range text {
		if v := Prove(nil, text[:n], "", Want{}, standing); v.Complete && text[n-1] != '\n' {
			t.Fatalf("a file cut at %d was accepted", n)
		}
	}
}

func TestProveTellsNoSecret(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`sword=hunter2`, `pass hunter2" user=x`, `x password=hunter2`, `failure: password=hunter2`, `[a@b] > /user set x password=hunter2`, `hint "hunter2"`} {
		for _, output := range []string{after(line), line} {
			if v := Prove(nil, []byte(output), marker, Want{}, nil); v.Complete || strings.Contains(v.Reason, "hunter2") {
				t.Errorf("%q: %s", line, v.Reason)
			}
		}
	}
}

func TestProveBoundsGaps(t *testing.T) {
	t.Parallel()
	one := "#error exporting /ip x\n"
	for n, want := range map[int]bool{maxGaps: true, maxGaps + 1: false, 3 * maxGaps: false} {
		v := Prove(nil, []byte(small+strings.Repeat(one, n)), "", Want{}, []string{"/ip x"})
		if v.Complete != want || len(v.Gaps) != maxGaps {
			t.Errorf("%d gaps: complete %t, %d kept", n, v.Complete, len(v.Gaps))
		}
	}
}

// FuzzProve checks what a complete verdict promises, with nothing of the package's own reading.
func FuzzProve(f *testing.F) {
	for _, name := range []string{"branch7.rsc", "office6.rsc"} {
		text := read(f, name)
		f.Add(append(text, marker+"\n"...), 7, false)
		f.Add(append(crlf(text), marker+"\r\n"...), 6, true)
	}
	for _, s := range []string{"", marker, small, small + marker, after("#interrupted"), after("add a=\\"), after("interrupted"), after("[a@b] > ")} {
		f.Add([]byte(s), 0, false)
	}
	standing := []string{"/system/routerboard/mode-button", "/interface bridge calea"}
	f.Fuzz(func(t *testing.T, output []byte, major int, hide bool) {
		v := Prove([]byte("before"), output, marker, Want{Major: major, Hide: hide}, standing)
		if v.Complete != (v.Kind == "") || v.Complete != (v.Reason == "") || v.Complete && v.Refetch != 0 {
			t.Fatalf("contradiction: %+v", v)
		}
		if !bytes.HasPrefix(output, v.Text) {
			t.Fatal("the text is not the output's beginning")
		}
		if want := Normalize([]byte("before"), v.Text); !bytes.Equal(v.Normal, want) {
			t.Fatalf("the normal form is %q, of the text %q", v.Normal, want)
		}
		saved := Prove(nil, v.Text, "", Want{Major: major, Hide: hide}, standing)
		if v.Complete && (!saved.Complete || saved.Identity != v.Identity) {
			t.Fatalf("complete with the marker, but as a file: %s", saved.Reason)
		}
		if v.Complete {
			checkPromises(t, string(output), string(v.Text))
		}
	})
}

func checkPromises(t *testing.T, output, text string) {
	t.Helper()
	if rest := strings.TrimSpace(strings.TrimPrefix(output, text)); rest != marker {
		t.Errorf("after the text stands %q", rest)
	}
	if !strings.HasSuffix(text, "\n") {
		t.Error("no final newline")
	}
	before, _, ok := strings.Cut("\n"+text, "\n/")
	if !ok || !strings.Contains(before, "\n# ") || !strings.Contains(before, "by RouterOS ") {
		t.Error("no header before the first menu")
	}
	for _, bad := range []string{"#interrupted", "interrupted\n", "failure: ", "not enough permissions", "expected end of command", "bad command name", "[admin@x] > "} {
		if strings.Contains("\n"+text, "\n"+bad) {
			t.Errorf("%q at column 0", bad)
		}
	}
}
