package dashboard

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

// followInterval is how often the token file is looked at.
const followInterval = 2 * time.Second

// LoginOptions say who may come in.
type LoginOptions struct {
	// Tokens are who may log in. Nil: nobody does, and whoever reaches a loopback address is an operator.
	Tokens *Tokens
	Log    *slog.Logger      // hears of logins, good and refused, and of the token file
	Count  func(LoginResult) // hears of every login; may be nil
	Now    func() time.Time
}

// LoginResult is how an attempt to log in ended.
type LoginResult string

// The ends of a login.
const (
	LoginGood    LoginResult = "good"
	LoginRefused LoginResult = "refused" // no such token
	LoginLimited LoginResult = "limited" // too many refused ones before it: nobody looked at the token
)

// Login stands in front of all pages, finds out who sent a request, and turns away who may not.
type Login struct {
	o        LoginOptions
	sessions sessions
	limiter  limiter
}

// NewLogin lets in whom the options say.
func NewLogin(o LoginOptions) *Login {
	if o.Count == nil {
		o.Count = func(LoginResult) {}
	}
	return &Login{o: o, sessions: sessions{byID: map[digest]session{}}, limiter: limiter{all: bucket{left: allRate.burst}, byAddress: map[netip.Prefix]bucket{}}}
}

// Follow takes changes of the token file over, where there is one, until ctx ends.
func (l *Login) Follow(ctx context.Context) {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if l.o.Tokens != nil {
				l.reload()
			}
		}
	}
}

// reload reads a token file that changed, and ends the sessions of tokens that are in it no longer.
func (l *Login) reload() {
	switch changed, err := l.o.Tokens.reload(); {
	case err != nil:
		l.o.Log.Error("dashboard tokens not reloaded: the old ones stay in force", "err", err)
	case changed:
		ended := l.sessions.sweep(l.o.Now(), func(token digest) bool { _, ok := l.o.Tokens.find(token); return ok })
		l.o.Log.Info("dashboard tokens reloaded", "tokens", l.o.Tokens.Len(), "sessions_ended", ended)
	}
}

// Guard puts the login in front of pages, which learn by UserOf who sent a request. A viewer's requests that change something
// do not reach them, nor do those that a page of another site has a browser send.
func (l *Login) Guard(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", l.known(pages))
	if l.o.Tokens != nil {
		mux.HandleFunc("GET "+loginPath, l.showForm)
		mux.HandleFunc("POST "+loginPath, l.logIn)
		mux.HandleFunc("POST "+logoutPath, l.logOut)
		mux.Handle("GET "+StaticPath, pages)
	}
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if l.o.Tokens == nil && !loopbackHost(r.Host) {
			http.Error(w, "this dashboard has no login and answers to loopback names only: open it as http://localhost:PORT, or set dashboard.tokens", http.StatusMisdirectedRequest)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// loopbackHost says whether a Host header is a loopback name or address. Any other may be a name that its owner has lead to
// this machine, so that the browser takes this dashboard for a part of the owner's site.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// known serves pages to those who may see them.
func (l *Login) known(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, wait, ok := l.user(r)
		switch reads := r.Method == http.MethodGet || r.Method == http.MethodHead; {
		case wait > 0:
			tooMany(w, wait)
		case !ok && reads && strings.Contains(r.Header.Get("Accept"), "text/html"):
			http.Redirect(w, r, loginFor(r.URL.RequestURI()), http.StatusSeeOther)
		case !ok:
			w.Header().Set("WWW-Authenticate", `Bearer realm="confhaul"`)
			http.Error(w, "log in at "+loginPath+", or send the header Authorization: Bearer TOKEN", http.StatusUnauthorized)
		case !reads && u.Role != RoleOperator:
			http.Error(w, u.Name+" is a viewer and changes nothing: this takes the token of an operator", http.StatusForbidden)
		default:
			pages.ServeHTTP(w, r.WithContext(WithUser(r.Context(), u)))
		}
	})
}

// user finds out who sent a request: by the cookie of a session, or by a token of its own. wait is how long the sender is to
// wait, after too many tokens that were refused.
func (l *Login) user(r *http.Request) (u User, wait time.Duration, ok bool) {
	u.From = from(r).Addr().String()
	if l.o.Tokens == nil {
		u.Name, u.Role = "loopback", RoleOperator
		return u, 0, true
	}
	if token, bears := bearer(r); bears {
		o, wait, err := l.try(r, token)
		u.Name, u.Role = o.name, o.role
		return u, wait, err == nil && wait == 0
	}
	token, ok := l.sessions.find(sessionOf(r), l.o.Now())
	if !ok {
		return u, 0, false
	}
	o, ok := l.o.Tokens.find(token) // as it is now: the role may have changed
	u.Name, u.Role, u.Session = o.name, o.role, true
	return u, 0, ok
}

func bearer(r *http.Request) (token secret.Text, ok bool) {
	scheme, text, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return secret.New(strings.TrimSpace(text)), ok && strings.EqualFold(scheme, "Bearer")
}

var errNoSuchToken = errors.New("no such token")

// try looks a token up. Those that are not there cost the sender's address, and all addresses together, one of the few that
// each of them has; without one left nobody looks, and wait says how long until there is one.
func (l *Login) try(r *http.Request, token secret.Text) (o owner, wait time.Duration, err error) {
	ok := false
	if wait := l.limiter.try(from(r).Masked(), l.o.Now(), func() bool { o, ok = l.o.Tokens.find(sumOf(token)); return ok }); wait > 0 {
		l.o.Count(LoginLimited)
		return o, wait, nil
	}
	if !ok {
		l.o.Count(LoginRefused)
		l.o.Log.Warn("dashboard login refused", "from", from(r).Addr(), "path", r.URL.Path)
		return o, 0, errNoSuchToken
	}
	return o, 0, nil
}

// from is the address that a request came from, with the bits that one sender is taken to have: IPv6 gives each a network.
func from(r *http.Request) netip.Prefix {
	const v4, v6 = 32, 64
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return netip.PrefixFrom(ip, v4)
	}
	return netip.PrefixFrom(ip, v6)
}
