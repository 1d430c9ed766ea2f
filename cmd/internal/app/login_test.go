package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/stream"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

const testTimeout = time.Minute // of anything a test waits for

// front is a dashboard as a process serves it, with the clock of its login in the test's hand.
type front struct {
	*Process
	t          *testing.T
	tokens     string // path of the token file; "": no login
	anna, bert secret.Text
	lines      map[string]string // of the token file, by name

	mu  sync.Mutex
	now time.Time
}

func newFront(t *testing.T, login bool) *front {
	t.Helper()
	s := settings.Default()
	s.Redis, s.NATS, s.Listen = embeddedtest.Redis(t), embeddedtest.NATS(t, embedded.NATSOptions{}).URL(), "127.0.0.1:0"
	f := &front{t: t, lines: map[string]string{}, now: time.Now()}
	if login {
		f.tokens = filepath.Join(t.TempDir(), "tokens.yaml")
		s.Dashboard.Tokens = f.tokens
		f.anna, f.bert = f.newToken("anna", dashboard.RoleOperator), f.newToken("bert", dashboard.RoleViewer)
		f.write("anna", "bert")
	}
	ctx, cancel := context.WithCancel(t.Context())
	connecting, connected := context.WithTimeout(ctx, testTimeout)
	defer connected()
	parts, err := Connect(connecting, s, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	f.Process = &Process{Parts: parts, Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics(), Ready: telemetry.NewReady()}
	f.HTTP = telemetry.NewServer(f.Ready, f.Metrics)
	guard, err := f.login(func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.now })
	if err != nil {
		t.Fatal(err)
	}
	if err := f.HTTP.Listen(ctx, s.Listen, f.Log); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.serveDashboard(ctx, guard, false) }()
	t.Cleanup(func() {
		cancel()
		stop, stopped := context.WithTimeout(context.Background(), testTimeout)
		defer stopped()
		if err := errors.Join(<-ended, f.HTTP.Stop(stop)); err != nil {
			t.Error(err)
		}
		f.Close()
	})
	f.await("the pages", func() bool { return f.ask("GET", "/", nil, nil).code != http.StatusNotFound })
	return f
}

func (f *front) newToken(name string, role dashboard.Role) secret.Text {
	token, sum := dashboard.NewToken()
	f.lines[name] = fmt.Sprintf("- {name: %s, role: %s, sha256: %s}\n", name, role, sum)
	return token
}

// write puts the tokens of the named into the file.
func (f *front) write(names ...string) {
	f.t.Helper()
	text := "tokens:\n"
	for _, name := range names {
		text += f.lines[name]
	}
	if err := os.WriteFile(f.tokens+".new", []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.tokens+".new", f.tokens); err != nil {
		f.t.Fatal(err)
	}
}

func (f *front) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *front) await(what string, done func() bool) {
	f.t.Helper()
	for until := time.Now().Add(testTimeout); !done(); {
		if time.Now().After(until) {
			f.t.Fatalf("no sign of %s within %s", what, testTimeout)
		}
		select {
		case <-f.t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

type reply struct {
	code   int
	body   string
	header http.Header
}

// ask sends a request as it is, and follows nothing.
func (f *front) ask(method, path string, form url.Values, header http.Header) reply {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), testTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+f.HTTP.Addr()+path, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	for key, values := range header {
		r.Header[key] = values
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Host = header.Get("Host")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{resp.StatusCode, string(body), resp.Header}
}

// logIn gives the header of a browser that is logged in.
func (f *front) logIn(token secret.Text) http.Header {
	f.t.Helper()
	in := f.ask("POST", "/login", url.Values{"token": {token.Reveal()}}, nil)
	cookie, _, _ := strings.Cut(in.header.Get("Set-Cookie"), ";")
	if in.code != http.StatusSeeOther || cookie == "" {
		f.t.Fatalf("log in: %d %s", in.code, in.body)
	}
	return http.Header{"Cookie": {cookie}}
}

func bearing(token secret.Text) http.Header {
	return http.Header{"Authorization": {"Bearer " + token.Reveal()}}
}

func with(h http.Header, key, value string) http.Header {
	h = h.Clone()
	h.Set(key, value)
	return h
}

// TestRefused has a row for each way in that must be shut, and shows beside it that the door is there: who may, gets through.
func TestRefused(t *testing.T) {
	t.Parallel()
	const queue, press = "/queues/api/queues", "/queues/api/queues/riga:pause"
	for name, try := range map[string]func(t *testing.T){
		"no token": func(t *testing.T) {
			f := newFront(t, true)
			f.want(http.StatusUnauthorized, f.ask("GET", queue, nil, nil))
			f.want(http.StatusUnauthorized, f.ask("GET", "/metrics/x", nil, nil))
			f.want(http.StatusSeeOther, f.ask("GET", "/", nil, http.Header{"Accept": {"text/html"}})) // to the login
			f.want(http.StatusOK, f.ask("GET", "/healthz", nil, nil))
			f.want(http.StatusOK, f.ask("GET", queue, nil, bearing(f.bert)))
			f.want(http.StatusOK, f.ask("GET", queue, nil, f.logIn(f.bert)))
		},
		"wrong token": func(t *testing.T) {
			f := newFront(t, true)
			wrong := f.newToken("carl", dashboard.RoleOperator)
			f.want(http.StatusUnauthorized, f.ask("GET", queue, nil, bearing(wrong)))
			f.want(http.StatusUnauthorized, f.ask("POST", "/login", url.Values{"token": {wrong.Reveal()}}, nil))
			f.want(http.StatusUnauthorized, f.ask("GET", queue, nil, http.Header{"Cookie": {"confhaul_session=" + f.anna.Reveal()}}))
			f.want(http.StatusUnauthorized, f.ask("GET", queue, nil, http.Header{"Cookie": {"confhaul_session="}}))
		},
		"expired session": func(t *testing.T) {
			f := newFront(t, true)
			in := f.logIn(f.anna)
			f.pass(dashboard.SessionTTL - time.Second)
			f.want(http.StatusOK, f.ask("GET", queue, nil, in))
			f.pass(time.Second)
			f.want(http.StatusUnauthorized, f.ask("GET", queue, nil, in))
		},
		"removed token": func(t *testing.T) {
			f := newFront(t, true)
			in := f.logIn(f.anna)
			f.want(http.StatusOK, f.ask("GET", queue, nil, in))
			f.write("bert")
			f.await("the end of the session", func() bool { return f.ask("GET", queue, nil, in).code == http.StatusUnauthorized })
			f.want(http.StatusUnauthorized, f.ask("GET", queue, nil, bearing(f.anna)))
			f.want(http.StatusOK, f.ask("GET", queue, nil, bearing(f.bert)))
		},
		"viewer presses a button": func(t *testing.T) {
			f := newFront(t, true)
			f.addSite("riga")
			pause := url.Values{"what": {"pause"}, "site": {"riga"}}
			f.want(http.StatusForbidden, f.ask("POST", "/act", pause, f.logIn(f.bert)))
			f.want(http.StatusForbidden, f.ask("POST", "/act", pause, bearing(f.bert)))
			if f.paused("riga") || len(f.audits()) != 0 {
				t.Error("a viewer paused a site, or is said to have")
			}
			f.want(http.StatusSeeOther, f.ask("POST", "/act", pause, f.logIn(f.anna)))
			if !f.paused("riga") {
				t.Error("an operator did not pause a site")
			}
		},
		"viewer posts to the API of the queues": func(t *testing.T) {
			f := newFront(t, true)
			f.want(http.StatusForbidden, f.ask("POST", press, nil, bearing(f.bert)))
			f.want(http.StatusForbidden, f.ask("DELETE", queue+"/riga/archived_tasks:delete_all", nil, bearing(f.bert)))
			f.want(http.StatusMethodNotAllowed, f.ask("POST", press, nil, bearing(f.anna))) // read-only for all
		},
		"cross-site request": func(t *testing.T) {
			for _, login := range []bool{true, false} {
				f := newFront(t, login)
				in := http.Header{}
				if login {
					in = f.logIn(f.anna)
				}
				f.want(http.StatusForbidden, f.ask("POST", press, nil, with(in, "Sec-Fetch-Site", "cross-site")))
				f.want(http.StatusForbidden, f.ask("POST", press, nil, with(in, "Sec-Fetch-Site", "same-site")))
				f.want(http.StatusForbidden, f.ask("POST", press, nil, with(in, "Origin", "https://evil.example")))
				f.want(http.StatusForbidden, f.ask("POST", press, nil, with(in, "Origin", "null")))
				f.want(http.StatusMethodNotAllowed, f.ask("POST", press, nil, with(in, "Origin", "http://"+f.HTTP.Addr())))
				read := f.ask("GET", queue, nil, with(in, "Origin", "https://evil.example")) // which the browser keeps from the page
				f.want(http.StatusOK, read)
				if read.header.Get("Access-Control-Allow-Origin") != "" || read.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
					t.Errorf("a page of another site may read: %v", read.header)
				}
			}
			f := newFront(t, true) // a login with the attacker's token
			f.want(http.StatusForbidden, f.ask("POST", "/login", url.Values{"token": {f.bert.Reveal()}}, http.Header{"Sec-Fetch-Site": {"cross-site"}}))
		},
		"a name that was led to loopback": func(t *testing.T) {
			f := newFront(t, false)
			for _, host := range []string{"evil.example", "evil.example:9470", "localhost.evil.example", "192.0.2.1", "127.0.0.1.evil.example", "[2001:db8::1]:80"} {
				f.want(http.StatusMisdirectedRequest, f.ask("GET", queue, nil, http.Header{"Host": {host}}))
				f.want(http.StatusMisdirectedRequest, f.ask("POST", press, nil, http.Header{"Host": {host}, "Origin": {"http://" + host}, "Sec-Fetch-Site": {"same-origin"}}))
			}
			for _, host := range []string{"localhost", "LOCALHOST:9470", "127.0.0.1:1", "127.8.8.8", "[::1]:9470", "[::1]"} {
				f.want(http.StatusOK, f.ask("GET", queue, nil, http.Header{"Host": {host}}))
			}
		},
		"too many logins": func(t *testing.T) {
			f := newFront(t, true)
			in, wrong := f.logIn(f.anna), url.Values{"token": {"guess"}}
			for range 5 {
				f.want(http.StatusUnauthorized, f.ask("POST", "/login", wrong, nil))
			}
			limited := f.ask("POST", "/login", wrong, nil)
			f.want(http.StatusTooManyRequests, limited)
			if limited.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			f.want(http.StatusTooManyRequests, f.ask("POST", "/login", url.Values{"token": {f.bert.Reveal()}}, nil))
			f.want(http.StatusOK, f.ask("GET", queue, nil, in))
			if m := f.ask("GET", "/metrics", nil, nil); !strings.Contains(m.body, `confhaul_dashboard_logins_total{result="refused"} 5`) || !strings.Contains(m.body, `{result="limited"} 2`) {
				t.Error("the refused logins are not counted")
			}
		},
		"world-readable token file": func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens.yaml")
			if err := errors.Join(os.WriteFile(path, []byte("tokens: []\n"), 0o600), os.Chmod(path, 0o644)); err != nil {
				t.Fatal(err)
			}
			s := settings.Default()
			s.Dashboard.Tokens = path
			p := &Process{Parts: &Parts{Settings: s}, Log: slog.New(slog.DiscardHandler)}
			if err := Dashboard(false)(t.Context(), p); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("got %v", err)
			}
		},
		"an address off loopback without a token file": func(t *testing.T) {
			s := settings.Default()
			for _, s.Listen = range []string{":9470", "0.0.0.0:9470", "192.0.2.1:9470", "[::]:9470", "router.example:9470"} {
				if err := CheckDashboard(s); !errors.Is(err, errNoLogin) || !strings.Contains(err.Error(), "confhaul dashboard token NAME") {
					t.Errorf("%s: %v", s.Listen, err)
				}
			}
			s.Dashboard.Tokens = "tokens.yaml"
			if err := CheckDashboard(s); err != nil {
				t.Errorf("with a token file: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); try(t) })
	}
}

func (f *front) want(code int, got reply) {
	f.t.Helper()
	if got.code != code {
		f.t.Errorf("%d, want %d: %.200s", got.code, code, got.body)
	}
}

// addSite puts a site with a device into the registry, and waits until the dashboard knows it.
func (f *front) addSite(name string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), testTimeout)
	defer cancel()
	d := device.Device{ID: "r-" + name, Site: name, Address: "192.0.2.1", Port: 22, Tenant: "default", Platform: "routeros", Credential: "c", Enabled: true}
	if _, err := f.Store.PutSite(ctx, device.Site{Name: name}, 0); err != nil {
		f.t.Fatal(err)
	}
	if err := f.Store.PutDevice(ctx, d); err != nil {
		f.t.Fatal(err)
	}
	in := http.Header{}
	if f.tokens != "" {
		in = bearing(f.anna)
	}
	f.await("the site", func() bool { return f.ask("GET", "/site?name="+name, nil, in).code == http.StatusOK })
}

func (f *front) paused(site string) bool {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), testTimeout)
	defer cancel()
	s, _, err := f.Store.Site(ctx, site)
	if err != nil {
		f.t.Fatal(err)
	}
	return s.Paused != nil
}

func (f *front) audits() []backup.Audit {
	f.t.Helper()
	all, err := f.Stream.Audits(f.t.Context(), "")
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// TestDashboardAudit has what an operator presses leave a record of who it was, and nothing done where no record can be left.
func TestDashboardAudit(t *testing.T) {
	t.Parallel()
	f := newFront(t, true)
	f.addSite("riga")
	in := f.logIn(f.anna)
	act := func(what string) reply {
		return f.ask("POST", "/act", url.Values{"what": {what}, "site": {"riga"}}, in)
	}
	f.want(http.StatusSeeOther, act("pause"))
	f.want(http.StatusMethodNotAllowed, f.ask("POST", "/queues/api/queues/riga:pause", nil, in))
	all := f.audits()
	for i, want := range []string{"pause", "queues POST /queues/api/queues/riga:pause"} {
		if len(all) != 2 || all[i].What != want || all[i].By != "anna" || all[i].Role != "operator" || all[i].From != "127.0.0.1" || all[i].Outcome != "asked" {
			t.Fatalf("recorded %+v", all)
		}
	}
	if all[0].Site != "riga" || all[1].Site != "" {
		t.Errorf("recorded %+v", all)
	}

	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	events, err := f.Conn.JetStream().Stream(ctx, stream.AuditStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := events.CachedInfo().Config
	cfg.MaxMsgSize = 1 // it takes no record any more
	if _, err := f.Conn.JetStream().UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	f.want(http.StatusServiceUnavailable, act("resume"))
	f.want(http.StatusServiceUnavailable, f.ask("POST", "/queues/api/queues/riga:pause", nil, in))
	if !f.paused("riga") {
		t.Error("done without a record")
	}
}
