package routersim

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/secret"
)

func TestExportOverSSH(t *testing.T) {
	t.Parallel()
	dates := map[string]string{"6.49.18": "/", "7.9.2": "/", "7.15.3": "-", "7.20.2": "-"}
	for _, version := range Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := one(t, version)
			first, second := run(t, r, marked(r)), run(t, r, whole(r))
			export, ok := strings.CutSuffix(first, marker+"\r\n")
			if !ok {
				t.Fatalf("the marker is not the last line: %q", first[len(first)-80:])
			}
			if settled(export) != settled(r.Export()) || settled(second) != settled(r.Export()) {
				t.Error("the wire differs from Export")
			}
			head, menus, _ := strings.Cut(export, "\r\n")
			if strings.HasSuffix(second, menus) {
				t.Error("two runs have the same status comments: nothing came or went")
			}
			if !strings.HasSuffix(head, " by RouterOS "+version) || !strings.Contains(head, dates[version]) {
				t.Errorf("header %q", head)
			}
			if strings.Contains(strings.ReplaceAll(export, "\r\n", ""), "\n") {
				t.Error("a line ends without CR")
			}
			for _, line := range strings.Split(export, "\r\n") {
				if !strings.HasPrefix(line, "#") && len(line) > 79 {
					t.Errorf("%d columns: %s", len(line), line)
				}
			}
		})
	}
}

func TestFlicker(t *testing.T) {
	t.Parallel()
	b := body{text: "/port\r\nset 0 name=serial0\r\n", slots: []slot{{at: 7, texts: []string{"# not running\r\n"}}}}
	for run := range uint64(10) {
		if b.flicker(run, FlickerRandom) == b.flicker(run+1, FlickerRandom) {
			t.Errorf("runs %d and %d are equal", run, run+1)
		}
	}
	if got, want := b.flicker(1, FlickerRandom), "/port\r\n# not running\r\nset 0 name=serial0\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSensitive(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, line string
		shows         bool
	}{
		{"6.49.18", "/export", true}, {"6.49.18", "/export hide-sensitive", false},
		{"7.20.2", "/export", false}, {"7.20.2", "/export hide-sensitive", false}, {"7.20.2", "/export show-sensitive", true},
	} {
		t.Run(c.version+c.line, func(t *testing.T) {
			t.Parallel()
			out := run(t, one(t, c.version), c.line)
			if got := strings.Contains(out, "pw-"); got != c.shows {
				t.Errorf("shows secrets: %v", got)
			}
			if !strings.Contains(out, "/ppp secret\r\n") {
				t.Error("not a whole export")
			}
		})
	}
	old := one(t, "6.49.18")
	if got := run(t, old, `/export show-sensitive; :put "x"`); got != "expected end of command (line 1 column 9)\r\n" {
		t.Errorf("v6 answers show-sensitive with %q", got)
	}
	if got := run(t, old, `:put [/system identity get name]; :put "x y"`); got != old.Identity()+"\r\nx y\r\n" {
		t.Errorf("put gives %q", got)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if _, err := dial(t, r, password("wrong")); err == nil {
		t.Fatal("a wrong password was let in")
	}
	tries := 0
	c := password("")
	c.Auth = []ssh.AuthMethod{ssh.RetryableAuthMethod(ssh.PasswordCallback(func() (string, error) { tries++; return "wrong", nil }), 10)}
	if _, err := dial(t, r, c); err == nil || tries != 3 {
		t.Errorf("%d attempts on one connection, want 3: %v", tries, err)
	}
	signer := hostKey(5, 0, ssh.KeyAlgoED25519)
	if err := r.AuthorizeKey(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))); err != nil {
		t.Fatal(err)
	}
	c.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	if _, err := dial(t, r, c); err != nil {
		t.Errorf("the authorized key is refused: %v", err)
	}
	if _, err := dial(t, r, password(testPassword)); err == nil {
		t.Error("a user with a key was let in by password")
	}
	err := r.fleet.WaitSessions(ctx, func(s []Session) bool {
		return len(s) == 4 && s[0].Login == LoginRefused && s[1].Login == LoginRefused && s[2].Login == LoginOK && s[3].Login == LoginRefused
	})
	if err != nil {
		t.Errorf("%v: %+v", err, r.fleet.Sessions())
	}
	if err := r.AuthorizeKey("nonsense"); err == nil {
		t.Error("nonsense was authorized")
	}
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	r.SetPassword(secret.New("another"))
	if _, err := dial(t, r, password(testPassword)); err == nil {
		t.Error("the old password was let in")
	}
	if _, err := dial(t, r, password("another")); err != nil {
		t.Error(err)
	}
	r.SetPassword(secret.New(""))
	if _, err := dial(t, r, password("")); err == nil {
		t.Error("an empty password was let in")
	}
}

func TestStrongCrypto(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"6.49.18", "7.20.2"} {
		r := one(t, version)
		r.SetStrongCrypto(true)
		if _, err := dial(t, r, password(testPassword)); err == nil || !strings.Contains(err.Error(), "key exchange") {
			t.Errorf("%s: the default algorithms got in: %v", version, err)
		}
		c := password(testPassword)
		c.KeyExchanges = []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeDHGEXSHA256}
		if _, err := dial(t, r, c); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	o := Options{Devices: 2, Seed: 7, Versions: []string{"7.9.2", "7.20.2"}}
	a, b := start(t, o), start(t, o)
	for i, kind := range []string{ssh.KeyAlgoRSA, ssh.KeyAlgoED25519} {
		r := a.Routers()[i]
		var seen ssh.PublicKey
		c := password(testPassword)
		c.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error { seen = key; return nil }
		if _, err := dial(t, r, c); err != nil {
			t.Fatal(err)
		}
		first := r.HostKeyFingerprint()
		if ssh.FingerprintSHA256(seen) != first || seen.Type() != kind {
			t.Errorf("%s presents %s %s, says %s", r.Version(), seen.Type(), ssh.FingerprintSHA256(seen), first)
		}
		if again := b.Routers()[i].HostKeyFingerprint(); again != first {
			t.Errorf("%s: %s after a restart, %s before", r.Version(), again, first)
		}
		if r.Export() != b.Routers()[i].Export() {
			t.Errorf("%s: another export after a restart", r.Version())
		}
		if err := r.SetFault(HostKeyChanged); err != nil {
			t.Fatal(err)
		}
		if _, err := dial(t, r, c); err != nil || ssh.FingerprintSHA256(seen) == first || ssh.FingerprintSHA256(seen) != r.HostKeyFingerprint() {
			t.Errorf("%s: the key did not rotate: %v", r.Version(), err)
		}
	}
	if b.Routers()[0].HostKeyFingerprint() == start(t, Options{Seed: 8, Versions: o.Versions}).Routers()[0].HostKeyFingerprint() {
		t.Error("another seed has the same key")
	}
}

func TestChangeAndRevert(t *testing.T) {
	t.Parallel()
	r := one(t, "7.20.2")
	texts := []string{r.Export()}
	for range 3 {
		r.Change()
		now := r.Export()
		if d := len(now) - len(texts[len(texts)-1]); now == texts[len(texts)-1] || d > 200 || d < -200 {
			t.Errorf("a change of %d bytes", d)
		}
		texts = append(texts, now)
	}
	if settled(run(t, r, whole(r))) != settled(texts[3]) {
		t.Error("the wire does not show the change")
	}
	for i := 2; i >= -1; i-- {
		r.Revert()
		if r.Export() != texts[max(i, 0)] {
			t.Errorf("revert to %d gives another text", max(i, 0))
		}
	}
}

func TestSessionLog(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Devices: 3, Sites: []string{"riga", "oslo"}, Versions: []string{"7.15.3"}})
	r := f.Router("router-0002")
	out := run(t, r, whole(r))
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := f.WaitSessions(ctx, func(s []Session) bool { return len(s) == 1 && !s[0].Open }); err != nil {
		t.Fatal(err)
	}
	s := f.Sessions()[0]
	if s.Device != r.ID() || s.Login != LoginOK || s.Bytes != int64(len(out)) || s.Command != whole(r) || s.To.Before(s.From) {
		t.Errorf("session %+v, export of %d bytes", s, len(out))
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if err := f.WaitSessions(stopped, func([]Session) bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("wait with an ended context: %v", err)
	}
	want := device.Device{
		ID: "router-0002", Name: r.Identity(), Address: "127.0.0.1", Port: r.Port(), Site: "oslo", Tenant: "default",
		Platform: "routeros", Credential: "fleet", Enabled: true,
	}
	if got := f.Devices("fleet"); len(got) != 3 || !got[1].Equal(want) || got[2].Site != "riga" {
		t.Errorf("devices %+v", got)
	}
}

func TestSessionLogIsBounded(t *testing.T) {
	t.Parallel()
	l := newSessionLog()
	first := l.open("open")
	for range sessionsMax {
		l.close(l.open("closed"))
	}
	got, _ := l.snapshot()
	if len(got) > sessionsMax || len(got) < sessionsMax*9/10 || !first.Open || got[0].Device != "open" {
		t.Errorf("%d sessions, the first %+v", len(got), got[0])
	}
}

func TestDownAndUp(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	port := r.Port()
	for _, turn := range []func(down bool) error{
		r.SetDown,
		func(down bool) error {
			if down {
				return r.SetFault(Refused)
			}
			return r.SetFault(NoFault)
		},
	} {
		if err := turn(true); err != nil {
			t.Fatal(err)
		}
		if c, err := net.DialTimeout("tcp", endpoint(r), testTimeout); err == nil {
			t.Error("a router that is down accepts connections")
			_ = c.Close()
		}
		if err := turn(false); err != nil {
			t.Fatal(err)
		}
		if out := run(t, r, `:put "up"`); out != "up\r\n" || r.Port() != port {
			t.Errorf("%q on port %d, want %d", out, r.Port(), port)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, err := Start(ctx, Options{Devices: 2, Username: testUser, Password: secret.New(testPassword), Versions: []string{"7.20.2"}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := f.Routers()[0], f.Routers()[1]
	if err := errors.Join(a.SetFault(SilentAfterAccept), b.SetFault(StallMidExport)); err != nil {
		t.Fatal(err)
	}
	silent, err := net.DialTimeout("tcp", endpoint(a), testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := dial(t, b, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("/export"); err != nil {
		t.Fatal(err)
	}
	wait, stop := context.WithTimeout(ctx, testTimeout)
	defer stop()
	if err := f.WaitSessions(wait, func(s []Session) bool { return len(s) == 2 && s[0].Bytes+s[1].Bytes > 0 }); err != nil {
		t.Fatal(err)
	}
	cancel() // the end of the context stops the fleet too, and Close still works after it
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, s := range f.Sessions() {
		if s.Open {
			t.Errorf("%s is still open", s.Device)
		}
	}
	if err := b.SetDown(false); !errors.Is(err, errClosed) {
		t.Errorf("a router of a closed fleet came up again: %v", err)
	}
	if _, err := io.Copy(io.Discard, silent); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := Options{Devices: 1, Username: "u"}
	for name, spoil := range map[string]func(*Options){
		"devices": func(o *Options) { o.Devices = 0 }, "username": func(o *Options) { o.Username = "" },
		"site": func(o *Options) { o.Sites = []string{"Riga"} }, "id": func(o *Options) { o.IDPrefix = "a b" },
		"version": func(o *Options) { o.Versions = []string{"5.1"} }, "listen": func(o *Options) { o.Listen = "256.0.0.1" },
		"too many": func(o *Options) { o.Devices = DevicesMax + 1 }, "network": func(o *Options) { o.Listen = "127.0.0.0/33" },
		"outside": func(o *Options) { o.Listen = "10.0.0.0/24" }, "wider": func(o *Options) { o.Listen = "127.0.0.0/7" },
		"narrow": func(o *Options) { o.Listen, o.Devices = "127.1.0.0/24", 256 },
	} {
		o := good
		spoil(&o)
		if f, err := Start(t.Context(), o); err == nil {
			t.Errorf("%s: started", name)
			_ = f.Close()
		}
	}
	f := start(t, Options{Devices: 300, Seed: 3})
	versions, sizes := map[string]int{}, 0
	for _, r := range f.Routers() {
		versions[r.Version()]++
		if len(r.Export()) < 16_000 {
			sizes++
		}
	}
	if versions["6.49.18"] < 15 || versions["6.49.18"] > 50 || len(versions) != 4 || sizes < 200 || sizes > 290 {
		t.Errorf("versions %v, %d small exports", versions, sizes)
	}
	if n := len(start(t, Options{Size: 50_000}).Routers()[0].Export()); n < 50_000 || n > 50_500 {
		t.Errorf("an export of %d bytes, want 50 KB", n)
	}
	if !strings.HasPrefix(f.Routers()[0].Version(), "6.") {
		t.Error("router 1 is not v6")
	}
}
