package routersim

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestWindowCut(t *testing.T) {
	t.Parallel()
	r := one(t, "7.20.2")
	r.SetFlicker(FlickerNone)
	whole := len(run(t, r, marked(r)))
	for _, cut := range []int{1, 4096, whole - 1, whole, whole + 1} {
		r.SetWindowCut(cut)
		if got := len(run(t, r, marked(r))); got != min(cut, whole) {
			t.Errorf("%d bytes with a window of %d", got, cut)
		}
	}
	if s := r.fleet.Sessions(); s[1].Bytes != 1 || s[2].Bytes != 4096 {
		t.Errorf("the session log counts what was dropped: %+v", s[1:3])
	}
	r.SetWindowCut(0)
	if got := len(run(t, r, marked(r))); got != whole {
		t.Errorf("%d bytes without a cut", got)
	}
}

// unwrapped joins continuation lines.
func unwrapped(text string) string {
	text = strings.ReplaceAll(text, "\\\r\n    \\_", " ")
	return strings.ReplaceAll(text, "\\\r\n    ", "")
}

// TestWidth joins every width to one text, which is the one without wraps.
func TestWidth(t *testing.T) {
	t.Parallel()
	for _, version := range Versions() {
		r := one(t, version)
		want := r.ExportAt(0)
		if strings.Contains(want, "\\\r\n") || r.Export() != r.ExportAt(79) || r.ExportAt(5) != r.ExportAt(WidthMin) {
			t.Errorf("%s: wrong widths", version)
		}
		for columns := WidthMin; columns < 260; columns++ {
			text := r.ExportAt(columns)
			if unwrapped(text) != want {
				t.Fatalf("%s at %d columns: another text", version, columns)
			}
			longest := 0
			for line := range strings.SplitSeq(text, "\r\n") {
				longest = max(longest, len(line))
			}
			if columns >= 79 && longest > columns {
				t.Errorf("%s at %d columns: a line of %d", version, columns, longest)
			}
		}
		if !strings.Contains(r.Export(), "\\\r\n    \\_") {
			t.Errorf("%s: no space stands at a join", version)
		}
		if !regexp.MustCompile(`\\\r\n {4}#`).MatchString(r.Export()) {
			t.Errorf("%s: no continuation line begins with a #", version)
		}
		r.SetFlicker(FlickerNone)
		r.SetWidth(236)
		if got := run(t, r, whole(r)); settled(got) != settled(r.ExportAt(236)) || r.Export() != r.ExportAt(236) {
			t.Errorf("%s: the wire has another width", version)
		}
	}
}

func TestMarkerRefused(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	r.SetMarkerRefused(true)
	for line, want := range map[string]string{
		`/export show-sensitive; :put "x"`:        "syntax error (line 1 column 23)\r\n",
		`/export show-sensitive file=a; :put "x"`: "syntax error (line 1 column 30)\r\n",
		`:put "x"; :put "y"`:                      "x\r\ny\r\n",
	} {
		if got := run(t, r, line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if got := run(t, r, whole(r)); settled(got) != settled(r.Export()) {
		t.Error("an export alone is not whole")
	}
	if len(r.Files()) != 0 {
		t.Error("a line that does not parse wrote a file")
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	const denied = "not enough permissions (9)\r\n"
	for _, version := range []string{"6.49.18", "7.20.2"} {
		r := one(t, version)
		end := marker + "\r\n"
		if got := run(t, r, whole(r)+" file=a"); got != denied {
			t.Errorf("%s: a file without the policy write: %q", version, got)
		}
		r.SetPolicies(PolicySSH, PolicyRead)
		if got := run(t, r, marked(r)); settled(got) != settled(r.ExportHidden())+end || strings.Contains(got, "pw-") {
			t.Errorf("%s: not the export without secrets", version)
		}
		r.SetPolicies(PolicySSH, PolicySensitive, PolicyWrite)
		for _, line := range []string{marked(r), whole(r) + " file=a", `:put [/file get a.rsc size]; :put "x"`} {
			if got := run(t, r, line); got != denied {
				t.Errorf("%s without read: %s prints %q", version, line, got)
			}
		}
		r.SetPolicies(PolicyRead)
		c, err := dial(t, r, password(testPassword))
		if err != nil {
			t.Fatalf("%s without ssh: %v", version, err)
		}
		var e *ssh.OpenChannelError
		if _, err := c.NewSession(); !errors.As(err, &e) || e.Reason != ssh.Prohibited {
			t.Errorf("%s without ssh: %v", version, err)
		}
	}
}

func TestHiddenLacksSecretsAlone(t *testing.T) {
	t.Parallel()
	for _, version := range Versions() {
		r := one(t, version)
		shown, hidden := r.ExportAt(0), r.ExportHidden()
		if strings.Contains(hidden, "pw-") || strings.Contains(hidden, "private-key=") || !strings.Contains(hidden, "/ppp secret\r\nadd name=") {
			t.Errorf("%s: wrong secrets in the hidden export", version)
		}
		if !strings.Contains(shown, "/ppp secret\r\nadd name=router-0001-vpn password=pw-") {
			t.Errorf("%s: no ppp secret", version)
		}
		if v7 := !strings.HasPrefix(version, "6."); v7 != strings.Contains(shown, " private-key=") {
			t.Errorf("%s: a WireGuard key: %v", version, !v7)
		}
		r.SetWidth(0)
		stripped := regexp.MustCompile(` [a-z0-9.-]*(password|secret|private-key|pre-shared-key|passphrase)=("[^"]*"|\S+)`).ReplaceAllString(shown, "")
		if stripped != r.ExportHidden() {
			t.Errorf("%s: more than secrets is missing", version)
		}
	}
}

func TestLoginBanner(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	r.SetFlicker(FlickerNone)
	good := run(t, r, whole(r))
	r.SetLoginBanner("Press \"Enter\"\nnew password> ")
	rest, ok := strings.CutPrefix(run(t, r, whole(r)), "Press \"Enter\"\r\nnew password> # ")
	if !ok || settled(rest) != settled(good) {
		t.Errorf("begins %q", rest[:60])
	}
}

// volatileTexts are the beginnings of every status comment that is known.
var volatileTexts = []string{
	"inactive time", "poe-out status: short_circuit", "poe-out status: voltage_on_poe-in", "received packet from ",
	"lte1 not ready", "pppoe-out1 not ready", "ether5 not ready", "wifi4 not ready", "Firmware upgraded successfully, please reboot",
	"managed by CAPsMAN\r", "managed by CAPsMAN 192.0.2.1, traffic", "operated by CAP 192", "operated by CAP 00:", "no connection to CAPsMAN\r",
	"no connection to CAPsMAN, managed locally", "channel: 2412/20/gn(20dBm), SSID: guests, CAPsMAN forwarding", "channel: 2452",
	"mode: AP, SSID: guests, channel", "mode: AP, SSID: guests\r", "DFS channel availability check", "SSID not set", "not running",
	"address pool error: pool not found", "DHCP client can not run on slave", "in/out-interface matcher not possible",
	"duplicate vlan ids", "PPTP connections are considered unsafe", "Suggestion to use stronger pre-shared key",
}

func TestFlickers(t *testing.T) {
	t.Parallel()
	for _, version := range Versions() {
		f := start(t, Options{Devices: 5, Versions: []string{version}})
		i := slices.IndexFunc(f.Routers(), func(r *Router) bool { return r.profile.model != "" && r.profile.n%4 == 1 })
		if i < 0 {
			t.Fatalf("%s: no such router", version)
		}
		r := f.Routers()[i]
		r.SetFlicker(FlickerNone)
		none := run(t, r, whole(r))
		if _, rest, _ := strings.Cut(none, lineEnd); settled(none) != rest {
			t.Errorf("%s: something volatile shows", version)
		}
		r.SetFlicker(FlickerAll)
		all := run(t, r, whole(r))
		if settled(all) != settled(r.Export()) {
			t.Errorf("%s: more than volatile lines differ", version)
		}
		want := volatileTexts
		if !strings.HasPrefix(version, "6.") {
			want = append(slices.Clone(want), "zerotier1 not ready", "ipv6 neighbor configuration has changed")
		}
		for _, text := range want {
			if !strings.Contains(all, lineEnd+"# "+text) {
				t.Errorf("%s: no comment %q", version, text)
			}
		}
		for _, page := range []string{"/lcd interface pages\r\nset <pppoe-joker> disabled=yes display-time=5s\r\n", "set \"<pppoe-two words>\" disabled"} {
			if !strings.Contains(all, lineEnd+page) {
				t.Errorf("%s: no page %q", version, page)
			}
		}
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Listen: "::1", Versions: []string{"7.15.3"}})
	r := f.Routers()[0]
	if got := run(t, r, `:put "x"`); got != "x\r\n" || f.Devices("c")[0].Address != "::1" {
		t.Errorf("%q at %s", got, f.Devices("c")[0].Address)
	}
}
