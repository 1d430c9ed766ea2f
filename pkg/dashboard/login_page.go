package dashboard

import (
	"html/template"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	loginPath  = "/login"
	logoutPath = "/logout" // ends a session when it is posted to

	sessionCookie = "confhaul_session"
	loginFormMax  = 4 << 10 // bytes
)

// loginPolicy lets the page of the login send its form, and run nothing.
const loginPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

var loginPage = template.Must(template.ParseFS(files, "pages/login.html"))

// loginForm is what the page of the login shows.
type loginForm struct {
	Build, Action string // of the style; where the form goes
	Next          string // where to go afterwards
	Problem       string // what was wrong with the last attempt
}

func (f loginForm) show(w http.ResponseWriter, status int) {
	f.Build, f.Action = build, loginPath
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", loginPolicy)
	w.WriteHeader(status)
	_ = loginPage.Execute(w, f) // whoever asked has gone
}

// loginFor is the address of the login that leads back to a page.
func loginFor(next string) string { return loginPath + "?" + url.Values{"next": {next}}.Encode() }

// local is a page of ours that somebody named as the next: any other address leads to the front page.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.Contains(next, `\`) {
		return "/"
	}
	return next
}

func (l *Login) showForm(w http.ResponseWriter, r *http.Request) {
	next := local(r.URL.Query().Get("next"))
	if _, _, ok := l.user(r); ok {
		http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // local lets no other host through
		return
	}
	loginForm{Next: next}.show(w, http.StatusOK)
}

func (l *Login) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, loginFormMax)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form is not one of this page", http.StatusBadRequest)
		return
	}
	next := local(r.PostForm.Get("next"))
	o, wait, err := l.try(r, secret.New(strings.TrimSpace(r.PostForm.Get("token"))))
	switch {
	case wait > 0:
		w.Header().Set("Retry-After", seconds(wait))
		loginForm{Next: next, Problem: "Too many tokens were refused: try again in " + seconds(wait) + " s."}.show(w, http.StatusTooManyRequests)
		return
	case err != nil:
		loginForm{Next: next, Problem: "There is no such token."}.show(w, http.StatusUnauthorized)
		return
	}
	id := l.sessions.begin(o.digest, l.o.Now())
	l.o.Count(LoginGood)
	l.o.Log.Info("dashboard login", "user", o.name, "role", o.role, "from", from(r).Addr())
	http.SetCookie(w, cookie(r, id, SessionTTL))
	http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // local lets no other host through
}

func (l *Login) logOut(w http.ResponseWriter, r *http.Request) {
	l.sessions.end(sessionOf(r))
	http.SetCookie(w, cookie(r, secret.Text{}, -time.Second))
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}

// cookie holds a session; a negative life takes it away. A proxy that ends TLS says so in a header, which whoever lies there
// harms only by it.
func cookie(r *http.Request, id secret.Text, life time.Duration) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // a browser sends no secure one back over plain HTTP, which loopback has
		Name: sessionCookie, Value: id.Reveal(), Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	}
}

func sessionOf(r *http.Request) secret.Text {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return secret.Text{}
	}
	return secret.New(c.Value)
}

func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", seconds(wait))
	http.Error(w, "too many tokens were refused: try again in "+seconds(wait)+" s", http.StatusTooManyRequests)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
