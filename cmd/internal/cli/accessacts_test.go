package cli

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// siteOf is where a dashboard serves its pages.
func siteOf(t *testing.T, p *process) site {
	t.Helper()
	s := site{T: t}
	eventually(t, "the dashboard", func() bool {
		_, line, found := strings.Cut(p.errOut.String(), `"url":"`)
		s.base, _, _ = strings.Cut(line, `/"`)
		return found
	})
	return s
}

// TestLeastPrivilegeLooks: without actions the dashboard has permissions to look at all that its pages show, asynqmon's too.
func TestLeastPrivilegeLooks(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 2, Seed: 8, Sites: []string{"riga"}}, "")
	g := newGuarded(t)
	g.start("scheduler", config, "scheduler")
	g.start("worker-riga", config, "worker", "--site", "riga")
	p := g.start("dashboard", config, "dashboard")
	s := siteOf(t, p)
	s.until("/", "2 devices at 1 site", "2 scheduled")
	const queues = "/queues/api/queues"
	for _, path := range []string{
		"/devices", "/sites", "/site?name=riga", "/changes", "/device?id=" + fleet.Routers()[0].ID(), queues, queues + "/riga", queues + "/riga/pending_tasks",
		queues + "/riga/active_tasks", queues + "/riga/scheduled_tasks", queues + "/riga/retry_tasks", queues + "/riga/archived_tasks",
		queues + "/riga/completed_tasks", "/queues/api/queue_stats", "/queues/api/servers", "/queues/api/redis_info",
	} {
		if s.get(path) == "" {
			t.Errorf("%s is not to be had", path)
		}
	}
	for _, refused := range g.admin().ACLLog(t.Context(), 100).Val() {
		t.Errorf("redis refused %s %s of %s", refused.Context, refused.Object, refused.Username)
	}
	if strings.Contains(p.errOut.String(), "ermission") {
		t.Error(p.errOut.String())
	}
}

// TestLeastPrivilegeActs has the dashboard do all that operators can have done, with the permissions that are made for it.
func TestLeastPrivilegeActs(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 2, Seed: 8, Sites: []string{"riga"}}, askedOnly)
	g := newGuarded(t, "--dashboard-actions")
	locked := fleet.Routers()[0]
	locked.SetPassword(secret.New("another"))
	g.start("scheduler", config, "scheduler")
	g.start("worker-riga", config, "worker", "--site", "riga")
	p := g.start("dashboard", config, "dashboard")
	s := siteOf(t, p)
	s.until("/", "2 devices at 1 site")
	one := "/device?id=" + locked.ID()
	for _, r := range fleet.Routers() {
		s.post("/act", url.Values{"what": {"backup"}, "device": {r.ID()}})
	}
	s.until("/", "<b>1</b> blocked", "<b>1</b> ok")
	locked.SetPassword(secret.New("pw-of-the-test"))
	s.post("/act", url.Values{"what": {"unblock"}, "device": {locked.ID()}})
	s.post("/act", url.Values{"what": {"backup"}, "device": {locked.ID()}})
	s.until(one, "✓ ok")
	if page := s.post("/act", url.Values{"what": {"pause"}, "site": {"riga"}, "reason": {"storm"}}); !strings.Contains(page, "storm") {
		t.Errorf("paused:\n%s", page)
	}
	s.post("/act", url.Values{"what": {"resume"}, "site": {"riga"}})
	breaker, err := json.Marshal(backup.Breaker{Credential: "fleet", Refusals: []string{"riga.x"}, PausedUntil: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	g.put("cli", "$KV.confhaul-credentials.v1", string(breaker))
	s.until("/", "credential fleet is paused")
	if page := s.post("/act", url.Values{"what": {"resume-credential"}, "credential": {"fleet"}}); !strings.Contains(page, "The credential is resumed") {
		t.Errorf("resumed:\n%s", page)
	}
	for _, refused := range g.admin().ACLLog(t.Context(), 100).Val() {
		t.Errorf("redis refused %s %s of %s", refused.Context, refused.Object, refused.Username)
	}
	if strings.Contains(p.errOut.String(), "ermission") {
		t.Error(p.errOut.String())
	}
}

// TestLeastPrivilegeTells: a command with another role's login says what it may not do, and not only that nobody answered.
func TestLeastPrivilegeTells(t *testing.T) {
	t.Parallel()
	_, config := fleetFiles(t, routersim.Options{Devices: 1, Seed: 8, Sites: []string{"riga"}}, askedOnly)
	g := newGuarded(t)
	if o := runWith(t, g.as("cli"), "inventory", "apply", "--config", config); o.code != exitOK {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	o := runWith(t, g.as("archiver"), "site", "limit", "riga", "3", "--config", config)
	if o.code != exitUnreachable || !contains(o.errOut, "the login of these settings may not do that:") || !contains(o.errOut, `"config.audit.riga._"`) {
		t.Errorf("exit %d: %s", o.code, o.errOut)
	}
}
