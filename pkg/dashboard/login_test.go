package dashboard

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

// house is a guarded page on a real server, with a clock of its own.
type house struct {
	url, path  string
	login      *Login
	anna, bert secret.Text // operator, viewer
	lines      []string    // theirs, in the token file
	log        *lockedText
	mu         sync.Mutex
	now        time.Time
	counts     map[LoginResult]int
}

type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{
		path: filepath.Join(t.TempDir(), "tokens.yaml"), log: &lockedText{}, counts: map[LoginResult]int{},
		now: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
	}
	var annaLine, bertLine string
	h.anna, annaLine = tokenLine("anna", RoleOperator)
	h.bert, bertLine = tokenLine("bert", RoleViewer)
	h.lines = []string{annaLine, bertLine}
	writeTokens(t, h.path, 0o600, "tokens:\n"+annaLine+bertLine)
	tokens, err := OpenTokens(h.path)
	if err != nil {
		t.Fatal(err)
	}
	h.login = NewLogin(LoginOptions{
		Tokens: tokens, Log: slog.New(slog.NewTextHandler(h.log, nil)),
		Now: func() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.now },
		Count: func(r LoginResult) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.counts[r]++
		},
	})
	h.url = serveGuarded(t, h.login)
	return h
}

// serveGuarded serves a page that says who asked for it.
func serveGuarded(t *testing.T, l *Login) (url string) {
	t.Helper()
	s := httptest.NewServer(l.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := UserOf(r.Context())
		_, _ = io.WriteString(w, "hello "+u.Name+" "+string(RoleOf(r.Context()))+" "+u.From)
	})))
	t.Cleanup(s.Close)
	return s.URL
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) counted(r LoginResult) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[r]
}

// answer is what came back.
type answer struct {
	code   int
	body   string
	header http.Header
	cookie *http.Cookie // of a session, where one was set
}

// ask sends a request as it is, and follows nothing.
func ask(t *testing.T, method, address string, form url.Values, header http.Header) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for key, values := range header {
		r.Header[key] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if host := header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{code: resp.StatusCode, body: string(body), header: resp.Header}
	for _, c := range resp.Cookies() {
		if c.Name == sessionCookie {
			a.cookie = c
		}
	}
	return a
}

func (h *house) logIn(t *testing.T, token secret.Text, next string) answer {
	t.Helper()
	return ask(t, "POST", h.url+"/login", url.Values{"token": {token.Reveal()}, "next": {next}}, nil)
}

func cookieOf(a answer) http.Header {
	if a.cookie == nil {
		return http.Header{}
	}
	return http.Header{"Cookie": {a.cookie.Name + "=" + a.cookie.Value}}
}

func bearing(token secret.Text) http.Header {
	return http.Header{"Authorization": {"Bearer " + token.Reveal()}}
}

// TestLogin goes the way of a browser: sent to the login, in, around and out.
func TestLogin(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	sent := ask(t, "GET", h.url+"/sites?q=a", nil, http.Header{"Accept": {"text/html,*/*"}})
	if sent.code != http.StatusSeeOther || sent.header.Get("Location") != "/login?next=%2Fsites%3Fq%3Da" {
		t.Fatalf("%d to %q", sent.code, sent.header.Get("Location"))
	}
	page := ask(t, "GET", h.url+sent.header.Get("Location"), nil, nil)
	if page.code != http.StatusOK || !strings.Contains(page.body, `value="/sites?q=a"`) || strings.Contains(page.body, "<script") {
		t.Errorf("login page: %d %s", page.code, page.body)
	}
	if p := page.header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || !strings.Contains(p, "frame-ancestors 'none'") {
		t.Errorf("policy %q", p)
	}
	if style := ask(t, "GET", h.url+"/static/style.css", nil, nil); style.code != http.StatusOK {
		t.Errorf("style: %d", style.code)
	}
	in := h.logIn(t, h.anna, "/sites?q=a")
	if in.code != http.StatusSeeOther || in.header.Get("Location") != "/sites?q=a" || in.cookie == nil {
		t.Fatalf("%d to %q, cookie %v", in.code, in.header.Get("Location"), in.cookie)
	}
	if c := in.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.MaxAge != int(SessionTTL.Seconds()) || strings.Contains(c.Value, h.anna.Reveal()) {
		t.Errorf("cookie %v", c)
	}
	if a := ask(t, "POST", h.url+"/x", nil, cookieOf(in)); a.code != http.StatusOK || a.body != "hello anna operator 127.0.0.1" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %q %v", a.code, a.body, a.header)
	}
	if a := ask(t, "GET", h.url+"/login", nil, cookieOf(in)); a.code != http.StatusSeeOther {
		t.Errorf("the login, to somebody who is in: %d", a.code)
	}
	out := ask(t, "POST", h.url+logoutPath, nil, cookieOf(in))
	if out.code != http.StatusSeeOther || out.cookie == nil || out.cookie.MaxAge >= 0 {
		t.Errorf("log out: %d %v", out.code, out.cookie)
	}
	if a := ask(t, "GET", h.url+"/x", nil, cookieOf(in)); a.code != http.StatusUnauthorized {
		t.Errorf("after the end of the session: %d", a.code)
	}
	if a := ask(t, "GET", h.url+"/x", nil, bearing(h.bert)); a.body != "hello bert viewer 127.0.0.1" {
		t.Errorf("bearer: %q", a.body)
	}
	if log := h.log.String(); !strings.Contains(log, "user=anna") || strings.Contains(log, h.anna.Reveal()) {
		t.Errorf("log: %s", log)
	}
}

func TestSecureCookie(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	form := url.Values{"token": {h.anna.Reveal()}}
	if a := ask(t, "POST", h.url+"/login", form, http.Header{"X-Forwarded-Proto": {"https"}}); a.cookie == nil || !a.cookie.Secure {
		t.Errorf("behind a proxy with TLS: %v", a.cookie)
	}
}

// TestNext has the login lead to pages of this dashboard alone.
func TestNext(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/sites/riga?x=1": "/sites/riga?x=1", "": "/", "sites": "/", "//evil.example": "/", "/\\evil.example": "/", "https://evil.example/": "/",
		"/\t/evil.example": "/", "javascript:alert(1)": "/",
	} {
		if got := local(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}

// TestSessionFollowsItsToken has a change of the token file change sessions that are open.
func TestSessionFollowsItsToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := cookieOf(h.logIn(t, h.anna, "/"))
	viewer := strings.Replace(h.lines[0], "operator", "viewer", 1)
	writeTokens(t, h.path, 0o600, "tokens:\n"+viewer)
	h.login.reload()
	if a := ask(t, "POST", h.url+"/x", nil, in); a.code != http.StatusForbidden {
		t.Errorf("made a viewer: %d %q", a.code, a.body)
	}
	writeTokens(t, h.path, 0o644, "tokens:\n"+h.lines[1])
	h.login.reload()
	if a := ask(t, "GET", h.url+"/x", nil, in); a.code != http.StatusOK || !strings.Contains(h.log.String(), "old ones stay in force") {
		t.Errorf("a bad file: %d, log %s", a.code, h.log)
	}
	writeTokens(t, h.path, 0o600, "tokens:\n"+h.lines[1])
	h.login.reload()
	writeTokens(t, h.path, 0o600, "tokens:\n"+h.lines[0])
	h.login.reload()
	if a := ask(t, "GET", h.url+"/x", nil, in); a.code != http.StatusUnauthorized {
		t.Errorf("removed, and back: %d", a.code)
	}
}

// TestSessionsAreBounded logs one token in more often than it may be at once: its oldest session ends, nobody else's does.
func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other := cookieOf(h.logIn(t, h.bert, "/"))
	var all []http.Header
	for range sessionsMax + 1 {
		h.pass(time.Second)
		all = append(all, cookieOf(h.logIn(t, h.anna, "/")))
	}
	for i, want := range map[int]int{0: http.StatusUnauthorized, 1: http.StatusOK, sessionsMax: http.StatusOK} {
		if a := ask(t, "GET", h.url+"/x", nil, all[i]); a.code != want {
			t.Errorf("session %d: %d, want %d", i, a.code, want)
		}
	}
	if a := ask(t, "GET", h.url+"/x", nil, other); a.code != http.StatusOK {
		t.Errorf("somebody else's: %d", a.code)
	}
	h.pass(SessionTTL)
	h.logIn(t, h.bert, "/")
	if n := len(h.login.sessions.byID); n != 1 {
		t.Errorf("%d sessions are kept after all but one expired", n)
	}
}

// TestTooManyLogins guesses until nobody looks any more; who is in stays in, and after a while a good token is let in again.
func TestTooManyLogins(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := cookieOf(h.logIn(t, h.anna, "/"))
	for range 20 { // good ones cost nothing
		if a := ask(t, "GET", h.url+"/x", nil, bearing(h.bert)); a.code != http.StatusOK {
			t.Fatalf("bearer: %d", a.code)
		}
	}
	wrong := secret.New("confhaul_guess")
	for i := range int(addressRate.burst) {
		if a := h.logIn(t, wrong, "/"); a.code != http.StatusUnauthorized || a.cookie != nil || !strings.Contains(a.body, "no such token") {
			t.Fatalf("guess %d: %d %q", i, a.code, a.body)
		}
	}
	for name, a := range map[string]answer{
		"a guess": h.logIn(t, wrong, "/"), "a good token": h.logIn(t, h.anna, "/"), "a good bearer": ask(t, "GET", h.url+"/x", nil, bearing(h.anna)),
	} {
		if a.code != http.StatusTooManyRequests || a.header.Get("Retry-After") != "10" || a.cookie != nil {
			t.Errorf("%s: %d, Retry-After %q", name, a.code, a.header.Get("Retry-After"))
		}
	}
	if a := ask(t, "GET", h.url+"/x", nil, in); a.code != http.StatusOK {
		t.Errorf("an open session: %d", a.code)
	}
	h.pass(addressRate.every)
	if a := h.logIn(t, h.anna, "/"); a.code != http.StatusSeeOther {
		t.Errorf("after the wait: %d", a.code)
	}
	if g, r, l := h.counted(LoginGood), h.counted(LoginRefused), h.counted(LoginLimited); g != 2 || r != 5 || l != 3 {
		t.Errorf("counted %d good, %d refused, %d limited", g, r, l)
	}
	if log := h.log.String(); strings.Count(log, "login refused") != 5 || strings.Contains(log, "guess") {
		t.Errorf("log: %s", log)
	}
}

func no() bool { return false }

// TestLimitOfAll guesses from ever new addresses: all of them together are bounded, and so is what is remembered of them.
func TestLimitOfAll(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	l := &NewLogin(LoginOptions{}).limiter
	address := netip.MustParseAddr("192.0.2.0")
	taken := 0
	for range 100_000 {
		address = address.Next()
		if l.try(netip.PrefixFrom(address, 32), now, no) == 0 {
			taken++
		}
		now = now.Add(10 * time.Millisecond)
	}
	if want := 50 + 1000; taken < want-1 || taken > want+1 {
		t.Errorf("%d guesses in 1000 s, want %d", taken, want)
	}
	if n := len(l.byAddress); n > addressesMax {
		t.Errorf("%d addresses are remembered", n)
	}
}

// TestLimiterPerAddress has one address that has none left leave those of the others alone.
func TestLimiterPerAddress(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	l := &NewLogin(LoginOptions{}).limiter
	bad, good := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	for range 1000 {
		l.try(bad, now, no)
	}
	if wait := l.try(bad, now, no); wait != addressRate.every {
		t.Errorf("wait %s", wait)
	}
	if wait := l.try(good, now, func() bool { return true }); wait != 0 || l.all.left != allRate.burst-addressRate.burst || len(l.byAddress) != 1 {
		t.Errorf("the other one waits %s; %v are left of all, %d addresses are remembered", wait, l.all.left, len(l.byAddress))
	}
	if wait := l.try(good, now, no); wait != 0 || l.all.left != allRate.burst-addressRate.burst-1 {
		t.Errorf("the other one waits %s; %v are left of all", wait, l.all.left)
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:99": "192.0.2.1/32", "[::ffff:192.0.2.1]:99": "192.0.2.1/32", "[2001:db8:1:2:3::4]:99": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:99": "fe80::/64", "@": "invalid Prefix",
	} {
		if got := from(&http.Request{RemoteAddr: remote}).Masked().String(); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

// TestFollow has the file's change arrive by itself.
func TestFollow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.login.Follow(ctx) }()
	writeTokens(t, h.path, 0o600, "tokens: []\n")
	for until := time.Now().Add(time.Minute); h.login.o.Tokens.Len() != 0; {
		if time.Now().After(until) {
			t.Fatal("the change did not arrive")
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	cancel()
	<-ended
}

// TestManyGoodAtOnce has a program ask with a good token, as often at once as it likes.
func TestManyGoodAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	pages := h.login.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var refused atomic.Int64
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 500 {
				w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				r.Header = bearing(h.anna)
				if pages.ServeHTTP(w, r); w.Code != http.StatusOK {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d requests with a good token are refused", n)
	}
}
