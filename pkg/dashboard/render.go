package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
)

//go:embed pages static
var files embed.FS

// templates are the pages by name, each with the layout and the parts.
var templates = parse("overview", "devices", "device", "diff", "sites", "site", "changes", "failure")

// build is in the addresses of style and script, so that a browser takes those that belong to the page.
var build = digestOf("static/style.css", "static/live.js")

func parse(names ...string) map[string]*template.Template {
	base := template.Must(template.New("").Funcs(template.FuncMap{
		"ago": func(t time.Time) string { return backup.Since(t, time.Now()) }, "utc": utc, "number": number, "plural": plural, "bar": bar, "visible": visible,
		"mark": func(status any) string { return marks[fmt.Sprint(status)] }, "button": func(d doing, fields ...string) form { return form{d, fields} },
		"list": func(s []string) string { return strings.Join(s, ", ") }, "build": func() string { return build },
		"bytes": sizeWords, "lines": lineWords, "dec": func(n int) int { return n - 1 },
	}).ParseFS(files, "pages/layout.html", "pages/parts.html"))
	out := map[string]*template.Template{}
	for _, name := range names {
		out[name] = template.Must(template.Must(base.Clone()).ParseFS(files, "pages/"+name+".html"))
	}
	return out
}

func digestOf(names ...string) string {
	h := sha256.New()
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is part of the binary
		}
		_, _ = h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// view is one page for one reader.
type view struct {
	Title, Nav, Page string
	Body             any
	Live             bool // it is fetched again every few seconds

	User     User
	Operator bool
	Result   string // of what was just done
	Notices  []string

	queues error // why the queues are not known
}

func (p *pages) show(w http.ResponseWriter, r *http.Request, v view) { p.write(w, r, http.StatusOK, v) }

// fail shows an error.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	p.write(w, r, status, view{Title: http.StatusText(status), Page: "failure", Body: visible(err.Error())})
}

func (p *pages) write(w http.ResponseWriter, r *http.Request, status int, v view) {
	v.User = UserOf(r.Context())
	v.Operator = v.User.Role == RoleOperator
	v.Result = resultOf(r.URL.Query().Get("result"))
	if pic := p.Fleet.Picture(time.Now()); !pic.Ready {
		v.Notices = append(v.Notices, "The registry is being read: what you see is not all there is yet.")
	}
	if !p.Connected() {
		v.Notices = append(v.Notices, "NATS does not answer: what you see is as it was before.")
	}
	if v.queues != nil {
		v.Notices = append(v.Notices, "Redis does not answer: what stands in the queues is not known.")
	}
	var b bytes.Buffer
	if err := templates[v.Page].ExecuteTemplate(&b, "layout", v); err != nil {
		p.Log.Error("page not made", "page", v.Page, "err", err)
		http.Error(w, "this page could not be made: see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // whoever asked has gone
}

// serveStatic gives style, script and icon.
func serveStatic() http.Handler {
	serve := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=86400")
		serve.ServeHTTP(w, r)
	})
}

// form is a button with what it acts on: names and values of hidden fields, in turn.
type form struct {
	doing
	fields []string
}

// Fields are the names and values.
func (f form) Fields() [][2]string {
	var out [][2]string
	for i := 0; i+1 < len(f.fields); i += 2 {
		out = append(out, [2]string{f.fields[i], f.fields[i+1]})
	}
	return out
}

// marks are the symbols of the statuses, for eyes that tell no colours.
var marks = map[string]string{"ok": "✓", "failing": "✗", "blocked": "⊘", "pending": "○", "stale": "◔"}

// part is one stretch of a bar.
type part struct {
	Status   string
	N        int
	X, Width float64 // of 100
}

// partMin is the least width of what is there at all.
const partMin = 1.5

// bar is the counts as stretches of a bar of 100, worst first.
func bar(c Counts) []part {
	parts := []part{{Status: "blocked", N: c.Blocked}, {Status: "failing", N: c.Failing}, {Status: "pending", N: c.Pending}, {Status: "ok", N: c.OK}}
	sum := 0.0
	for i := range parts {
		if parts[i].N > 0 {
			parts[i].Width = max(100*float64(parts[i].N)/float64(c.All), partMin)
			sum += parts[i].Width
		}
	}
	x := 0.0
	var out []part
	for _, s := range parts {
		if s.N > 0 {
			s.X, s.Width = x, s.Width*100/sum
			x += s.Width
			out = append(out, s)
		}
	}
	return out
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// number is n with commas between the thousands.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + one + "s"
}

func sizeWords(n int) string {
	const kb = 1000
	if n < kb {
		return number(n) + " bytes"
	}
	return number((n+kb/2)/kb) + " KB"
}

func lineWords(added, removed int) string {
	switch {
	case removed == 0 && added == 0:
		return "-"
	case removed == 0:
		return fmt.Sprintf("+%d", added)
	case added == 0:
		return fmt.Sprintf("-%d", removed)
	}
	return fmt.Sprintf("+%d -%d", added, removed)
}
