package cli

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/routersim"
)

// production is what the README's section of that name sets up: two sites, TLS with client certificates, and processes that have
// no more than their role's permissions.
type production struct {
	*guarded
	fleet   *routersim.Fleet
	config  string            // the operator's and the schedulers'
	lacking map[string]string // of processes that have no inventory, or neither inventory nor credentials, by command
	archive string
	running map[string]*process
	ended   []*process
	changed int // routers
}

const (
	productionDevices = 24
	// All devices are due again every 2 s, and slow, so that sessions are open whenever a process is replaced.
	productionDelay    = 400 * time.Millisecond
	productionSettings = "interval: 2s\njitter: {min: 0s, max: 1s}\nredial_delay: 0s\n"
)

func newProduction(t *testing.T) *production {
	t.Helper()
	fleet, config := fleetFiles(t, routersim.Options{Devices: productionDevices, Seed: 7, Sites: []string{"riga", "oslo"}}, productionSettings)
	for _, r := range fleet.Routers() {
		r.SetDelay(productionDelay)
	}
	bare := copied(t, config, "confhaul.yaml")
	return &production{
		guarded: newGuarded(t), fleet: fleet, config: config, archive: filepath.Join(t.TempDir(), "archive"), running: map[string]*process{},
		lacking: map[string]string{"worker": copied(t, config, "confhaul.yaml", "credentials.yaml"), "archiver": bare, "dashboard": bare},
	}
}

// copied has settings on a machine of their own, with no more files than these, and returns their path.
func copied(t *testing.T, config string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		text := readText(t, filepath.Join(filepath.Dir(config), name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, filepath.Base(config))
}

// productionRoles are the processes, in the order of an upgrade, each with its user and its command.
var productionRoles = []struct{ name, user, command string }{
	{"archiver", "archiver", "archiver"},
	{"worker-riga", "worker-riga", "worker --site riga"},
	{"worker-oslo", "worker-oslo", "worker --site oslo"},
	{"scheduler-1", "scheduler", "scheduler"},
	{"scheduler-2", "scheduler", "scheduler"},
	{"dashboard", "dashboard", "dashboard"},
}

func (p *production) launch(name, user, command string) {
	args := strings.Fields(command)
	p.running[name] = p.start(user, cmp.Or(p.lacking[args[0]], p.config), p.archive, args...)
}

// end stops a process by SIGTERM.
func (p *production) end(name string) {
	p.Helper()
	if code := p.running[name].stop(p.T); code != 0 {
		p.Errorf("%s: exit %d", name, code)
	}
	p.ended = append(p.ended, p.running[name])
	delete(p.running, name)
}

// says waits for a word in a process's log.
func (p *production) says(name, word string) {
	p.Helper()
	eventually(p.T, name+" to say "+word, func() bool { return strings.Contains(p.running[name].errOut.String(), word) })
}

func (p *production) cli(args ...string) outcome {
	p.Helper()
	o := runWith(p.T, p.as("cli"), append(args, "--config", p.config, "-o", "json")...)
	if o.code != 0 {
		p.Errorf("%v: exit %d: %s %s", args, o.code, o.out, o.errOut)
	}
	return o
}

// backedUp waits until each device was backed up in a session that began after now.
func (p *production) backedUp() {
	p.Helper()
	since := time.Now()
	eventually(p.T, "a backup of each device", func() bool {
		done := map[string]bool{}
		for _, s := range p.fleet.Sessions() {
			if s.From.After(since) && !s.Open && s.Bytes > 0 {
				done[s.Device] = true
			}
		}
		return len(done) == productionDevices
	})
}

// change alters a router that was not altered before.
func (p *production) change() {
	p.fleet.Routers()[p.changed].Change()
	p.changed++
}

// TestProduction runs a whole confhaul over TLS in which every process has no more than its role's permissions. While all
// routers are backed up again and again each process is replaced, and a worker comes and goes: no router has two sessions at
// once, no backup fails, every change is in the archive, and neither Redis nor NATS refuses anything.
func TestProduction(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	for _, r := range slices.Backward(productionRoles) { // some have to wait for the streams
		p.launch(r.name, r.user, r.command)
	}
	if s := decode[backupSummary](t, p.cli("backup", "--all", "--wait")); s.Succeeded != productionDevices {
		t.Errorf("%+v", s)
	}
	for _, args := range []string{"status", "site list", "site limit riga 30", "hostkey list", "audit"} {
		p.cli(strings.Fields(args)...)
	}

	for _, r := range productionRoles {
		p.end(r.name)
		p.change()
		p.launch(r.name, r.user, r.command)
		p.says(r.name, "nats reachable")
		p.backedUp()
	}
	p.launch("worker", "worker-riga", "worker --site riga")
	p.says("worker", "backup done")
	p.end("worker")
	p.end("worker-riga")
	p.end("worker-oslo")
	p.launch("worker", "worker", "worker") // of all sites
	p.change()
	p.backedUp()

	p.holds()
}

// holds checks the promises against the logs of the routers, of both servers and of every process.
func (p *production) holds() {
	p.Helper()
	s := &shelf{T: p.T, dir: p.archive}
	eventually(p.T, "every change in the archive", func() bool { return s.versions() == productionDevices+p.changed })
	if o := runHere(p.T, "archive", "verify", "--config", p.config, "--data", filepath.Dir(p.archive)); o.code != 0 {
		p.Errorf("archive verify: exit %d: %s %s", o.code, o.out, o.errOut)
	}
	for _, d := range decode[[]deviceStatus](p.T, p.cli("status")) {
		if d.Status != "ok" {
			p.Errorf("%s: %s", d.ID, d.Status)
		}
	}
	p.end("worker") // and its sessions with it
	noOverlap(p.T, p.fleet)
	p.Logf("%d sessions, the longest time from one to the next of a device %s", len(p.fleet.Sessions()), longestGap(p.fleet))

	for _, refused := range p.admin().ACLLog(p.Context(), 100).Val() {
		p.Errorf("redis refused %s %s of %s", refused.Context, refused.Object, refused.Username)
	}
	if text := p.refused.String(); text != "" {
		p.Errorf("nats refused: %s", text)
	}
	var events, large struct {
		State struct {
			Subjects map[string]int
			Messages int
		}
	}
	ask(p.T, p.login("scheduler"), "$JS.API.STREAM.INFO.CONFIG_EVENTS", `{"subjects_filter":"config.backup.>"}`, &events)
	for subject := range events.State.Subjects {
		if !strings.HasPrefix(subject, "config.backup.unchanged.") {
			p.Errorf("a backup failed: %s", subject)
		}
	}
	ask(p.T, p.login("scheduler"), "$JS.API.STREAM.INFO.OBJ_CONFIG_LARGE", "", &large)
	if len(events.State.Subjects) == 0 || large.State.Messages == 0 {
		p.Errorf("%d devices with events of unchanged routers, %d texts in the object store", len(events.State.Subjects), large.State.Messages)
	}
	for _, ended := range append(p.ended, slices.Collect(maps.Values(p.running))...) {
		for line := range strings.Lines(ended.errOut.String()) {
			if logTrouble.MatchString(line) && !strings.Contains(line, "start a scheduler, which makes it") {
				p.Errorf("%v: %s", ended.cmd.Args[1:], line)
			}
		}
	}
}

// logTrouble is what no process may log.
var logTrouble = regexp.MustCompile(`NOPERM|ermission|"level":"(WARN|ERROR)"`)

// longestGap is the longest time between two sessions of one device.
func longestGap(fleet *routersim.Fleet) time.Duration {
	longest, last := time.Duration(0), map[string]time.Time{}
	for _, s := range fleet.Sessions() {
		if before, ok := last[s.Device]; ok {
			longest = max(longest, s.From.Sub(before))
		}
		last[s.Device] = s.From
	}
	return longest.Round(time.Millisecond)
}
