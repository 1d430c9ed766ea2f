package cli

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/state"
)

// alerted is a fleet whose processes a real Prometheus scrapes.
type alerted struct {
	*shelf
	prom   *prometheus
	fleet  *routersim.Fleet
	config string
	store  *state.Store
}

// run runs a command and checks the exit code.
func (a alerted) run(code int, args ...string) {
	a.Helper()
	vars := map[string]string{}
	for _, v := range a.vars {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	if o := runWith(a.T, vars, append(args, "--config", a.config)...); o.code != code {
		a.Fatalf("%v: exit %d, want %d: %s%s", args, o.code, code, o.out, o.errOut)
	}
}

// process starts a process and has it scraped.
func (a alerted) process(name string, vars []string, args ...string) *process {
	a.Helper()
	p := startProcess(a.T, append(slices.Clone(a.vars), vars...), append(args, "--config", a.config, "--listen", "127.0.0.1:0")...)
	a.prom.scrape(name, p)
	return p
}

// at are the ids of the devices of a site.
func (a alerted) at(site string) []string {
	var ids []string
	for _, d := range a.fleet.Devices(simCredential) {
		if d.Site == site {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// older makes the last proven backup of a device so much older.
func (a alerted) older(id, site string, by time.Duration) {
	a.Helper()
	for {
		s, revision, err := a.store.State(a.Context(), site+"."+id)
		if err != nil {
			a.Fatal(err)
		}
		s.GoodStarted = s.GoodStarted.Add(-by)
		if _, err = a.store.PutState(a.Context(), site+"."+id, s, revision); err == nil {
			return
		}
		if !errors.Is(err, backup.ErrConflict) {
			a.Fatal(err)
		}
	}
}

// TestAlerts runs a fleet under a real Prometheus with the rules that ship, provokes the cause of every alert, and takes it
// away again: what fires at each step is what should, and nothing else.
func TestAlerts(t *testing.T) {
	t.Parallel()
	a := alerted{prom: startPrometheus(t), shelf: newShelf(t, 1<<20)}
	a.fleet, a.config = fleetFiles(t, routersim.Options{
		Devices: 30, Seed: 21, Versions: []string{"7.20.2"}, Size: 4000, Sites: []string{"riga", "oslo", "roma"},
	}, stillSettings)
	remote := filepath.Join(t.TempDir(), "remote.git")
	a.vars = append(a.vars, "CONFHAUL_ARCHIVE_DIR="+a.dir,
		"CONFHAUL_GIT_DIR="+filepath.Join(t.TempDir(), "mirror.git"), "CONFHAUL_GIT_REMOTE="+remote, "CONFHAUL_GIT_PUSH_SECRETS=true")
	conn, err := natsio.Connect(t.Context(), natsio.Options{URL: secret.NewURL(a.nats), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if a.store, err = state.Open(t.Context(), conn, state.Options{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	riga, oslo, roma := a.at("riga"), a.at("oslo"), a.at("roma")

	a.process("worker", nil, "worker", "--site", "riga,roma")
	second := a.process("worker of oslo", nil, "worker", "--site", "oslo")
	archiver := a.process("archiver", nil, "archiver")
	a.prom.await("without a scheduler", "ConfhaulNoScheduler")
	scheduler := a.process("scheduler", []string{"CONFHAUL_PPROF=127.0.0.1:0"}, "scheduler")
	a.run(exitOK, "backup", "--all", "--wait")
	a.prom.await("well, but that the mirror has no remote yet", "ConfhaulMirrorFailed")
	if logged(scheduler.errOut.String(), "serving profiles", "address") == "" {
		t.Error("no profiles are served")
	}

	clock, via := newOtherClock(t, a.redis)
	clock.ahead.Store(60)
	a.process("scheduler with another clock", []string{"CONFHAUL_REDIS=" + via}, "scheduler")
	a.fleet.Router(roma[0]).RotateHostKey()
	a.run(exitBlocked, "backup", roma[0], "--wait")
	for _, id := range roma[1:3] {
		if err := a.fleet.Router(id).SetDown(true); err != nil {
			t.Fatal(err)
		}
		a.older(id, "roma", 30*time.Hour)
	}
	a.run(exitOK, "site", "rate", "riga", "0.001")
	a.run(exitOK, append([]string{"backup"}, riga...)...)
	if code := second.stop(t); code != 0 {
		t.Errorf("the worker of oslo ends with %d", code)
	}
	a.run(exitOK, "backup", oslo[0])
	a.prom.await("each with its cause", "ConfhaulMirrorFailed", "ConfhaulClockOff", "ConfhaulHostKeyChanged", "ConfhaulDevicesStale",
		"ConfhaulFleetStale", "ConfhaulQueueNotMoving riga", "ConfhaulSiteWithoutWorker oslo")
	a.dashboardShows()

	clock.ahead.Store(0)
	a.run(exitOK, "hostkey", "forget", roma[0])
	for _, id := range roma[1:3] {
		if err := a.fleet.Router(id).SetDown(false); err != nil {
			t.Fatal(err)
		}
	}
	a.run(exitOK, "backup", roma[0], roma[1], roma[2], "--wait")
	a.run(exitOK, "site", "rate", "riga", "0")
	a.process("worker of oslo", nil, "worker", "--site", "oslo")
	a.prom.await("causes gone, but that the mirror has no remote yet", "ConfhaulMirrorFailed")

	for _, id := range roma[:backup.BreakerMax] {
		a.fleet.Router(id).SetPassword(secret.New("pw-of-nobody"))
	}
	a.run(exitOK, append([]string{"backup"}, roma[:backup.BreakerMax]...)...)
	if code := archiver.stop(t); code != 0 {
		t.Errorf("the archiver ends with %d", code)
	}
	a.fill()
	clock.cut()
	inventory := filepath.Join(filepath.Dir(a.config), "inventory.yaml")
	good := readText(t, inventory)
	if err := writeByRename(inventory, good+"devices: []\n"); err != nil {
		t.Fatal(err)
	}
	a.prom.await("each with its cause", "ConfhaulCredentialPaused", "ConfhaulArchiverBehind", "ConfhaulStreamNearlyFull", "ConfhaulNotReady",
		"ConfhaulInventoryNotInForce")

	if err := writeByRename(inventory, good); err != nil {
		t.Fatal(err)
	}
	clock.heal()
	for _, id := range roma[:backup.BreakerMax] {
		a.fleet.Router(id).SetPassword(secret.New("pw-of-the-test"))
	}
	a.run(exitOK, "unblock", "--credential", simCredential)
	if out, err := exec.Command("git", "init", "--quiet", "--bare", remote).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a.process("archiver", nil, "archiver")
	eventually(t, "the mirror to be pushed", func() bool { return a.prom.query("confhaul_archiver_mirror_failed == 0") == 1 })
	a.prom.await("all well")
}

// dashboardShows asks every question of the Grafana dashboard, and wants an answer to each.
func (a alerted) dashboardShows() {
	a.Helper()
	asked := 0
	for _, p := range grafanaPanels(a.T) {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$site", ".*").Replace(target.Expr)
			if n := a.prom.query(expr); n == 0 {
				a.Errorf("%s: %s gives nothing", p.Title, expr)
			}
			asked++
		}
	}
	a.Logf("the dashboard has an answer to each of its %d questions", asked)
}
