package cli

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// site is the dashboard of a running process, as a browser asks it.
type site struct {
	*testing.T
	base string
}

func (s site) ask(r *http.Request) (int, string) {
	s.Helper()
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// get is a page, "" where it is not there.
func (s site) get(path string) string {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.base+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	code, page := s.ask(r)
	if code != http.StatusOK {
		return ""
	}
	return page
}

// post sends a form and gives the page that it leads to.
func (s site) post(path string, form url.Values) string {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	code, page := s.ask(r)
	if code != http.StatusOK {
		s.Fatalf("%s %v: %d\n%s", path, form, code, page)
	}
	return page
}

// until looks at a page until it says all of the texts.
func (s site) until(path string, texts ...string) string {
	s.Helper()
	page := ""
	eventually(s.T, path+" to say "+strings.Join(texts, ", "), func() bool {
		page = s.get(path)
		for _, text := range texts {
			if !strings.Contains(page, text) {
				return false
			}
		}
		return true
	})
	return page
}

// TestDashboard looks at a fleet through the dashboard of up, and works it from there alone: a device is unblocked, backed up,
// its site paused and resumed, and its change looked at.
func TestDashboard(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 3, Seed: 21}, upSettings)
	routers := fleet.Routers()
	locked, changing := routers[0], routers[1]
	locked.SetPassword(secret.New("another"))
	data := t.TempDir()
	up := startProcess(t, nil, "up", "--config", config, "--data", data)
	eventually(t, "up to tell its address", func() bool { _, err := embedded.ReadRun(data); return err == nil })
	run, err := embedded.ReadRun(data)
	if err != nil {
		t.Fatal(err)
	}
	s := site{t, strings.TrimSuffix(run.Dashboard, "/")}
	s.until("/", "3 devices at 1 site", "<b>1</b> blocked", "<b>2</b> ok", "confhaul unblock "+locked.ID())

	locked.SetPassword(secret.New("pw-of-the-test"))
	one := "/device?id=" + locked.ID()
	if page := s.post("/act", url.Values{"what": {"unblock"}, "device": {locked.ID()}}); !strings.Contains(page, "The block is lifted") {
		t.Errorf("unblocked:\n%s", page)
	}
	s.until(one, "✓ ok", "@1")

	changing.Change()
	two := "/device?id=" + changing.ID()
	s.post("/act", url.Values{"what": {"backup"}, "device": {changing.ID()}})
	s.until(two, "@2", "/diff?id="+changing.ID()+"&amp;from=1&amp;to=2")
	if page := s.get("/diff?id=" + changing.ID() + "&from=1&to=2"); !strings.Contains(page, `class="added">&#43;`) {
		t.Errorf("difference:\n%s", page)
	}
	if page := s.post("/diff", url.Values{"id": {changing.ID()}, "from": {"1"}, "to": {"2"}}); !strings.Contains(page, "This text holds the router") {
		t.Errorf("difference with secrets:\n%s", page)
	}
	s.until("/changes", changing.ID())

	if page := s.post("/act", url.Values{"what": {"pause"}, "site": {"default"}, "reason": {"storm"}}); !strings.Contains(page, "storm") {
		t.Errorf("paused:\n%s", page)
	}
	if o := runHere(t, "site", "list", "--data", data); !strings.Contains(o.out, "storm") {
		t.Errorf("site list: %s%s", o.out, o.errOut)
	}
	if page := s.post("/act", url.Values{"what": {"resume"}, "site": {"default"}}); strings.Contains(page, "storm") {
		t.Errorf("resumed:\n%s", page)
	}
	s.until("/sites", "default", "scheduled", "no limit")
	s.until("/queues", "<html")

	o := runHere(t, "audit", "--data", data, "-o", "json")
	for _, what := range []string{"unblock", "backup", "show-secrets", "pause", "resume"} {
		if !strings.Contains(o.out, `"`+what+`"`) {
			t.Errorf("audit has no %s: %s%s", what, o.out, o.errOut)
		}
	}
	if code := up.stop(t); code != 0 {
		t.Errorf("up ends with %d on SIGTERM", code)
	}
}
