package dashboard

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPages: every page is there, says what it is to say, and may load from its own host only.
func TestPages(t *testing.T) {
	t.Parallel()
	h := newLab(t, 1000).as(RoleOperator)
	for path, tc := range map[string]struct {
		code int
		want []string
	}{
		"/": {200, []string{"1,000 devices at 40 sites", "credential old-fleet is paused", "confhaul unblock --credential old-fleet", "core upgrade",
			"no worker serves", "confhaul unblock edge-00", "drop telnet", "<b>20</b> blocked", "Resume the credential"}},
		"/devices?status=blocked&kind=hostkey":      {200, []string{"10 of 1,000 devices", "confhaul hostkey accept edge-00008 SHA256:Zq2b"}},
		"/devices?page=2":                           {200, []string{"page 2 of 20", "page=1", "page=3"}},
		"/devices?q=%3Cscript%3E":                   {200, []string{"0 of 1,000", `value="&lt;script&gt;"`}},
		"/sites":                                    {200, []string{"40 sites", "paused", "20 sessions, 0.5 new/s", "250 scheduled", "no worker"}},
		"/site?name=site-03":                        {200, []string{"core upgrade", "Resume the site"}},
		"/site?name=site-04":                        {200, []string{"Pause the site", "edge-00004"}},
		"/site?name=nowhere":                        {404, []string{"there is no such thing"}},
		"/device?id=edge-00007":                     {200, []string{"refused the password", "confhaul unblock edge-00007", ">Unblock</button>", "10.0.0.7:22", "@25"}},
		"/device?id=edge-00002":                     {200, []string{">Back up now</button>"}},
		"/device?id=edge-00040":                     {200, []string{"outdated SSH: ssh-rsa"}},
		"/device?id=edge-00001":                     {200, []string{"the archive is not at hand here", "confhaul log edge-00001"}},
		"/device?id=..":                             {404, []string{"there is no such thing"}},
		"/device?id=edge-00002&result=backup":       {200, []string{"A backup is asked for"}},
		"/device?id=edge-00002&result=drop+tables":  {200, []string{"edge-00002"}},
		"/diff?id=edge-00002&from=2&to=3":           {200, []string{"password=(hidden)", "&lt;b&gt;old", `class="added"`, `class="removed"`, "Show the secrets"}},
		"/diff?id=edge-00002&from=2&to=300":         {404, []string{"no such version"}},
		"/diff?id=edge-00002&from=200&to=3":         {503, []string{"try again"}},
		"/diff?id=edge-00002&from=x&to=3":           {400, nil},
		"/changes":                                  {200, []string{"edge-00029", "/diff?id=edge-00029&amp;from=2&amp;to=3"}},
		"/other":                                    {404, []string{"there is no such page"}},
		"/static/style.css":                         {200, []string{"--back"}},
		"/static/other":                             {404, nil},
		"/queues":                                   {200, []string{"queues /queues"}},
		"/queues/api/queues":                        {200, []string{"queues /queues/api/queues"}},
		"/device?id=edge-00007&result=show-secrets": {200, nil},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != tc.code {
			t.Errorf("%s: %d", path, w.Code)
		}
		for _, text := range tc.want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s has no %q:\n%s", path, text, w.Body)
			}
		}
		csp := w.Header().Get("Content-Security-Policy")
		inline := strings.Contains(csp, "unsafe-inline")
		if !strings.HasPrefix(csp, "default-src 'self'") || strings.Contains(csp, "http") || inline != strings.HasPrefix(path, QueuesPath) {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
}

// TestViewer: who only looks gets no button, no secret, and nothing done.
func TestViewer(t *testing.T) {
	t.Parallel()
	l := newLab(t, 100)
	for _, role := range []Role{RoleViewer, ""} {
		h := l.as(role)
		for _, path := range []string{"/", "/device?id=edge-00007", "/site?name=site-03", "/diff?id=edge-00002&from=2&to=3"} {
			if code, body := get(t, h, path); code != 200 || strings.Contains(body, `method="post"`) {
				t.Errorf("%s: %d, and there is something to press", path, code)
			}
		}
		for path, form := range map[string]url.Values{
			"/act":  {"what": {"unblock"}, "device": {"edge-00007"}},
			"/diff": {"id": {"edge-00002"}, "from": {"2"}, "to": {"3"}},
		} {
			if w := post(t, h, path, form); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("%s by %q: %d", path, role, w.Code)
			}
		}
	}
	if len(l.done)+len(l.audited) > 0 {
		t.Errorf("done %v, audited %v", l.done, l.audited)
	}
}

func post(t *testing.T, h http.Handler, path string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestActions: each is recorded, then done, and shown where the browser is led to.
func TestActions(t *testing.T) {
	t.Parallel()
	l := newLab(t, 100)
	h := l.as(RoleOperator)
	for _, tc := range []struct {
		form url.Values
		to   string
		done string
		page string // where it leads says this
		gone string // and not this
	}{
		{url.Values{"what": {"unblock"}, "device": {"edge-00007"}}, "/device?id=edge-00007&result=unblock", "unblock edge-00007", "The block is lifted", ">Unblock<"},
		{url.Values{"what": {"backup"}, "device": {"edge-00002"}}, "/device?id=edge-00002&result=backup", "backup edge-00002 by anna", "anna asked for a backup", ""},
		{url.Values{"what": {"pause"}, "site": {"site-09"}, "reason": {"<storm>"}}, "/site?name=site-09&result=pause", "pause site-09: <storm> by anna", "&lt;storm&gt;", "Pause the site"},
		{url.Values{"what": {"resume"}, "site": {"site-09"}}, "/site?name=site-09&result=resume", "resume site-09", "Pause the site", "storm"},
		{url.Values{"what": {"resume-credential"}, "credential": {"old-fleet"}}, "/?&result=resume-credential", "resume credential old-fleet", "The credential is resumed", ""},
	} {
		w := post(t, h, "/act", tc.form)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != tc.to {
			t.Fatalf("%v: %d to %q\n%s", tc.form, w.Code, w.Header().Get("Location"), w.Body)
		}
		_, body := get(t, h, tc.to)
		if !slices.Contains(l.done, tc.done) || !strings.Contains(body, tc.page) || tc.gone != "" && strings.Contains(body, tc.gone) {
			t.Errorf("%v: done %v, then\n%s", tc.form, l.done, body)
		}
	}
	if a := l.audited; len(a) != 5 || a[0] != (Action{"anna", "unblock", "edge-00007", "site-07"}) || a[4].What != "resume-credential old-fleet" {
		t.Errorf("audited %+v", a)
	}
	for _, form := range []url.Values{
		{}, {"what": {"format"}}, {"what": {"unblock"}, "device": {"nobody"}}, {"what": {"pause"}, "site": {"nowhere"}}, {"what": {"resume-credential"}, "credential": {"fleet"}},
	} {
		if w := post(t, h, "/act", form); w.Code != http.StatusNotFound {
			t.Errorf("%v: %d", form, w.Code)
		}
	}
	if w := post(t, h, "/act", url.Values{"what": {"backup"}, "device": {"edge-00007"}}); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "since noon") {
		t.Errorf("refused: %d\n%s", w.Code, w.Body)
	}
}

// TestActionsThatMustNotHappen: by a page of another site, or without a record of it.
func TestActionsThatMustNotHappen(t *testing.T) {
	t.Parallel()
	l := newLab(t, 100)
	h := l.as(RoleOperator)
	form := url.Values{"what": {"unblock"}, "device": {"edge-00007"}}
	if code, _ := get(t, h, "/act?what=unblock&device=edge-00007"); code == http.StatusSeeOther {
		t.Error("a link acts")
	}
	l.refuse = errors.New("stream full")
	if w := post(t, h, "/act", form); w.Code != http.StatusServiceUnavailable {
		t.Errorf("not recorded: %d", w.Code)
	}
	secrets := url.Values{"id": {"edge-00002"}, "from": {"2"}, "to": {"3"}}
	if w := post(t, h, "/diff", secrets); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("secrets not recorded: %d", w.Code)
	}
	if len(l.done) > 0 {
		t.Errorf("done: %v", l.done)
	}
	l.refuse = nil
	if w := post(t, h, "/diff", secrets); w.Code != 200 || !strings.Contains(w.Body.String(), "hunter2") || l.audited[0].What != "show-secrets" {
		t.Errorf("secrets: %d, audited %v", w.Code, l.audited)
	}
}

// TestDiffLines: what a router wrote is not taken for a heading, nor shown as something else than it is.
func TestDiffLines(t *testing.T) {
	t.Parallel()
	lines, left := diffLines("--- a\n+++ b\n@@ -1 +1 @@\n---- x\n+++ y\n \x1b[31m\u202e\n" + strings.Repeat("+z\n", linesMax))
	var classes []string
	for _, l := range lines[:6] {
		classes = append(classes, l.Class)
	}
	if !slices.Equal(classes, []string{"file", "file", "hunk", "removed", "added", ""}) || lines[5].Text != " \ufffd[31m\ufffd" || left != 6 {
		t.Errorf("%q, %q, %d left", classes, lines[5].Text, left)
	}
}

// BenchmarkPages is the time of a page of 10,000 devices, by page, and of the picture behind them.
func BenchmarkPages(b *testing.B) {
	l := newLab(b, 10_000)
	h := l.as(RoleOperator)
	for _, path := range []string{"/", "/devices", "/devices?q=edge-099", "/sites", "/site?name=site-04", "/device?id=edge-00007", "/diff?id=edge-00007&from=2&to=3", "/changes"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if code, _ := get(b, h, path); code != 200 {
					b.Fatal(code)
				}
			}
		})
	}
	for _, n := range []int{10_000, 100_000} {
		f := newLab(b, n).fleet
		b.Run("picture of "+number(n), func(b *testing.B) {
			at := time.Now()
			for b.Loop() {
				at = at.Add(pictureMax)
				f.Picture(at)
			}
		})
	}
}
