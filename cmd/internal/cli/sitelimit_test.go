package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// startWorkers starts a scheduler and three workers of 20 sessions, and returns the flags of commands about them.
func startWorkers(t *testing.T, config string) []string {
	t.Helper()
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	vars := []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats}
	startProcess(t, vars, "scheduler", "--config", config, "--listen", "127.0.0.1:0")
	for range 3 {
		startProcess(t, vars, "worker", "--config", config, "--listen", "127.0.0.1:0")
	}
	at := []string{"--config", config, "--redis", redis, "--nats", nats}
	eventually(t, "the sites to be open", func() bool {
		o := runHere(t, append([]string{"site", "list", "-o", "json"}, at...)...)
		if o.code != exitOK {
			return false
		}
		all := decode[[]siteLine](t, o)
		for _, l := range all {
			if l.InForce == nil {
				return false
			}
		}
		return len(all) > 0
	})
	return at
}

// peak is the highest number of sessions at once among those that began within a time.
func peak(sessions []routersim.Session, from, to time.Time) int {
	type edge struct {
		at   time.Time
		more int
	}
	var edges []edge
	for _, s := range sessions {
		edges = append(edges, edge{s.From, 1})
		if !s.Open {
			edges = append(edges, edge{s.To, -1})
		}
	}
	sort.Slice(edges, func(i, j int) bool { return edges[i].at.Before(edges[j].at) })
	n, highest := 0, 0
	for _, e := range edges {
		if n += e.more; e.more > 0 && !e.at.Before(from) && e.at.Before(to) {
			highest = max(highest, n)
		}
	}
	return highest
}

// used is the share of the sessions allowed that routers were busy with.
func used(sessions []routersim.Session, allowed int, from, to time.Time) float64 {
	var busy time.Duration
	for _, s := range sessions {
		end := to
		if !s.Open && s.To.Before(to) {
			end = s.To
		}
		start := s.From
		if start.Before(from) {
			start = from
		}
		busy += max(end.Sub(start), 0)
	}
	return busy.Seconds() / (to.Sub(from).Seconds() * float64(allowed))
}

// TestSiteLimit holds three workers of 20 sessions to 3 at a site, and to 7 while they run. The routers count.
func TestSiteLimit(t *testing.T) {
	t.Parallel()
	const devices, delay = 70, time.Second
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 21, Versions: []string{"7.20.2"}}, askedOnly+"concurrency: 20\n")
	for _, r := range fleet.Routers() {
		r.SetDelay(delay)
	}
	at := startWorkers(t, config)
	site := func(limit string) {
		t.Helper()
		if o := runHere(t, append([]string{"site", "limit", device.DefaultSite, limit}, at...)...); o.code != exitOK {
			t.Fatalf("exit %d: %s", o.code, o.errOut)
		}
	}
	inForce := func(want int) {
		t.Helper()
		eventually(t, "the limit to hold", func() bool {
			l := decode[[]siteLine](t, runHere(t, append([]string{"site", "list", "-o", "json"}, at...)...))
			return l[0].InForce != nil && l[0].InForce.Sessions == want
		})
	}
	ended := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " sessions to end"), func() bool {
			got := 0
			for _, s := range fleet.Sessions() {
				if !s.Open {
					got++
				}
			}
			return got >= n
		})
	}
	site("3")
	inForce(3)
	if o := runHere(t, append([]string{"backup", "--all"}, at...)...); o.code != exitOK {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	ended(3)
	began := time.Now()
	ended(30)
	raised := time.Now()
	site("7")
	took := time.Since(raised)
	inForce(7)
	seven := time.Now()
	ended(devices - 7)
	last := time.Now()
	ended(devices)
	all := fleet.Sessions()
	three, later := peak(all, all[0].From, raised), peak(all, raised, last)
	t.Logf("limit 3: at most %d at once, %.0f %% of what 3 sessions allow over %s; raised by a command of %s, known to be in force after %s: at most %d at once, %.0f %% of 7 over %s",
		three, 100*used(all, 3, began, raised), raised.Sub(began).Round(time.Millisecond), took.Round(time.Millisecond), seven.Sub(raised).Round(time.Millisecond),
		later, 100*used(all, 7, seven, last), last.Sub(seven).Round(time.Millisecond))
	if three != 3 || later != 7 {
		t.Errorf("%d sessions at once under a limit of 3, %d under one of 7", three, later)
	}
	noOverlap(t, fleet)
}

// TestDarkSite has 2,000 routers at one site that take a connection and say nothing, and a few sound ones at another: these
// do not wait for the others' turn.
func TestDarkSite(t *testing.T) {
	t.Parallel()
	const dark, sound = 2000, 12
	_, config := fleetFiles(t, routersim.Options{Devices: sound, Seed: 22, Sites: []string{"sound"}, Versions: []string{"7.20.2"}},
		askedOnly+"concurrency: 20\ntimeouts: {handshake: 5s}\n")
	inventory := filepath.Join(filepath.Dir(config), "inventory.yaml")
	text, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.Write(text)
	for i := range dark {
		l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connections, and nobody accepts them
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		fmt.Fprintf(&b, "    - {id: dark-%04d, address: 127.0.0.1, port: %d, site: dark}\n", i, l.Addr().(*net.TCPAddr).Port)
	}
	if err := writeByRename(inventory, b.String()); err != nil {
		t.Fatal(err)
	}
	at := startWorkers(t, config)
	measure := func(what string) time.Duration {
		t.Helper()
		before := time.Now()
		o := runHere(t, append([]string{"backup", "--site", "sound", "--wait"}, at...)...)
		if o.code != exitOK {
			t.Fatalf("%s: exit %d: %s %s", what, o.code, o.out, o.errOut)
		}
		return time.Since(before)
	}
	counts := func() siteLine {
		t.Helper()
		for _, l := range decode[[]siteLine](t, runHere(t, append([]string{"site", "list", "-o", "json"}, at...)...)) {
			if l.Site == "dark" {
				return l
			}
		}
		return siteLine{}
	}
	eventually(t, "the registry", func() bool {
		return runHere(t, append([]string{"inventory", "list", "--site", "sound"}, at...)...).code == exitOK
	})
	alone := measure("alone")
	if o := runHere(t, append([]string{"backup", "--site", "dark"}, at...)...); o.code != exitOK {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	// All that it may is 18 on each of 3 workers; a slow machine ends sessions before it has begun so many.
	eventually(t, "the dark site to hold its share", func() bool { return counts().Active >= 18 })
	beside := measure("beside the dark site")
	again := measure("beside the dark site again")
	left := counts()
	t.Logf("%d sound routers: %s alone, %s and then %s beside %d dark ones, of which %d still wait",
		sound, alone.Round(time.Millisecond), beside.Round(time.Millisecond), again.Round(time.Millisecond), dark, left.Pending)
	if left.Pending < dark/2 {
		t.Errorf("the sound site's backups came when only %d of the dark ones waited", left.Pending)
	}
}
