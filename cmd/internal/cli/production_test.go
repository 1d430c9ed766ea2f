package cli

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/confhaul/confhaul/pkg/access"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/transport"
)

// production is what the README's section of that name sets up, and how its processes do.
type production struct {
	*guarded
	readme  *readme
	fleet   *routersim.Fleet
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
	fleet, config := fleetFiles(t, routersim.Options{Devices: productionDevices, Seed: 7, Sites: []string{"riga", "oslo"}}, "")
	for _, r := range fleet.Routers() {
		r.SetDelay(productionDelay)
	}
	r := newReadme(t, filepath.Dir(config))
	return &production{guarded: r.setUp(productionSettings), readme: r, fleet: fleet, running: map[string]*process{}}
}

func (p *production) launch(r role) {
	p.running[r.name] = p.readme.start(r)
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
	o := runHere(p.T, append(args, "--config", p.readme.config(), "-o", "json")...)
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

// TestProduction does what the README says: two sites, TLS with client certificates, and processes that have no more than their
// role's permissions. While all routers are backed up again and again each process is replaced, and a worker comes and goes: no
// router has two sessions at once, no backup fails, every change is in the archive, and neither Redis nor NATS refuses anything.
func TestProduction(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	roles := p.readme.roles()
	for _, r := range slices.Backward(roles) { // some have to wait for the streams
		p.launch(r)
	}
	if s := decode[backupSummary](t, p.cli("backup", "--all", "--wait")); s.Succeeded != productionDevices {
		t.Errorf("%+v", s)
	}
	for _, args := range []string{"status", "site list", "site limit riga 30", "hostkey list", "audit"} {
		p.cli(strings.Fields(args)...)
	}

	for _, r := range upgradeOrder(roles) {
		p.end(r.name)
		p.change()
		p.launch(r)
		p.says(r.name, "nats reachable")
		p.backedUp()
	}
	riga := roles[slices.IndexFunc(roles, func(r role) bool { return r.user == "worker-riga" })]
	riga.name = "another worker of riga"
	p.launch(riga)
	p.says(riga.name, "backup done")
	p.end(riga.name)
	p.end("worker-riga")
	p.end("worker-oslo")
	p.launch(role{name: "worker", user: "worker", args: riga.args[:1]}) // of all sites
	p.change()
	p.backedUp()

	p.holds()
	p.demandsCertificates()
}

// upgradeOrder is that of deployments/docs/upgrades.md.
func upgradeOrder(roles []role) []role {
	order := []string{"archiver", "worker", "scheduler", "dashboard"}
	rank := func(r role) int { return slices.Index(order, r.args[0]) }
	return slices.SortedStableFunc(slices.Values(roles), func(a, b role) int { return rank(a) - rank(b) })
}

// holds checks the promises against the logs of the routers, of both servers and of every process.
func (p *production) holds() {
	p.Helper()
	s := &shelf{T: p.T, dir: filepath.Join(p.readme.home, "archive")}
	eventually(p.T, "every change in the archive", func() bool { return s.versions() == productionDevices+p.changed })
	if o := runHere(p.T, "archive", "verify", "--config", p.readme.config()); o.code != 0 {
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

// demandsCertificates asks both servers over TLS without a certificate, and with the login of somebody who may do everything.
func (p *production) demandsCertificates() {
	p.Helper()
	p.files = transport.TLS{CA: p.files.CA}
	if err := p.admin().Ping(p.Context()).Err(); err == nil {
		p.Error("redis answers without a certificate")
	}
	nkey, err := nats.NkeyOptionFromSeed(filepath.Join(p.dir, access.SeedFile("scheduler")))
	if err != nil {
		p.Fatal(err)
	}
	if _, err := nats.Connect(p.nats, nkey, nats.Secure(p.tls())); err == nil {
		p.Error("nats answers without a certificate")
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
