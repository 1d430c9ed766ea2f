package app

import (
	"context"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/inventory"
	"github.com/confhaul/confhaul/pkg/queue"
	"github.com/confhaul/confhaul/pkg/state"
	"github.com/confhaul/confhaul/pkg/telemetry"
	"github.com/confhaul/confhaul/scheduler"
	"github.com/confhaul/confhaul/worker"
)

// inventoryInterval is how often a scheduler looks whether its inventory file changed.
const inventoryInterval = 5 * time.Second

// Schedule is the scheduler's role. newQueue says that this process started Redis empty and no worker runs yet.
func Schedule(newQueue bool) Role {
	return func(ctx context.Context, p *Process) error {
		t := p.Settings
		s := scheduler.New(scheduler.Options{
			Registry: p.Store, Queue: p.Queue, SiteLimit: t.SiteLimit, NewQueue: newQueue, Hold: p.Hold, Log: p.Log,
			Timetable: scheduler.Timetable{Interval: t.Interval, JitterMin: t.Jitter.Min, JitterMax: t.Jitter.Max, RedialDelay: t.RedialDelay},
		})
		p.Metrics.ObserveFleet(func(ctx context.Context) telemetry.Fleet { return p.observe(ctx, s) })
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.Run(ctx) })
		g.Go(func() error { return p.answerTriggers(ctx) })
		g.Go(func() error { p.watchStreams(ctx); return nil })
		if t.Inventory != "" {
			g.Go(func() error { p.followInventory(ctx); return nil })
		}
		return g.Wait()
	}
}

// followInventory applies the inventory file whenever it changes. What cannot be applied leaves the old in force.
func (p *Process) followInventory(ctx context.Context) {
	applier := p.applier()
	tick := time.NewTicker(inventoryInterval)
	defer tick.Stop()
	for {
		r, err := applier.Refresh(ctx, false)
		if ctx.Err() == nil && fault.KindOf(err) != fault.Infrastructure {
			p.Metrics.InventoryInForce(r.InForce)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && fault.KindOf(err) == fault.Infrastructure: // told where it is seen; the next look is in a moment
			p.Log.Debug("inventory not looked at", "err", err)
		case err != nil:
			p.Log.Error("inventory not applied: the registry stays as it is", "file", p.Settings.Inventory, "err", err)
		case r.Added+r.Changed+r.Moved+r.Removed+r.Pending > 0:
			p.Log.Info("inventory applied", "generation", r.Generation, "added", r.Added, "changed", r.Changed, "moved", r.Moved, "removed", r.Removed, "pending", r.Pending)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// observe puts the scheduler's view and the queues' together for metrics.
func (p *Process) observe(ctx context.Context, s *scheduler.Scheduler) telemetry.Fleet {
	seen := s.Fleet(time.Now())
	f := telemetry.Fleet{
		Ages: seen.Ages, Never: seen.Never, Stale: seen.Stale, OldestOverdue: seen.OldestOverdue, ByStatus: map[string]int{},
		Blocked: map[string]int{}, HeldSites: seen.Held,
	}
	for status, n := range seen.ByStatus {
		f.ByStatus[string(status)] = n
	}
	for kind, n := range seen.Blocked {
		f.Blocked[string(kind)] = n
	}
	if tasks, err := p.Queue.Counts(ctx, seen.Sites); err == nil { // without Redis these are not known, and readiness says so
		f.Tasks = tasks
	}
	if served, err := p.Queue.ServedSites(); err == nil {
		for _, site := range seen.Sites {
			if !served[site] {
				f.SitesWithoutWorker = append(f.SitesWithoutWorker, site)
			}
		}
	}
	if !p.Conn.Connected() { // or the scrape would wait for it
		return f
	}
	if paused, err := p.PausedCredentials(ctx); err == nil {
		f.PausedCredentials = slices.Collect(maps.Keys(paused))
	}
	return f
}

// Go collects garbage whenever the heap has doubled: too often for a worker with a few megabytes of live data and 200 KB for
// each backup, and with 10,000 sessions a gigabyte too late. So it is collected when a third of it is new, and ballastSize bytes
// of address space, which are never touched, count as live; in GOMEMLIMIT they count too. GOGC in the environment wins.
const (
	ballastSize = 160 << 20
	gcPercent   = 30
)

func ballast() (release func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(gcPercent)
	b := make([]byte, ballastSize)
	return func() {
		runtime.KeepAlive(b)
		debug.SetGCPercent(before)
	}
}

// Work is the worker's role for the named sites, or for all sites there are and will be when none is named.
func Work(sites []string) Role {
	return func(ctx context.Context, p *Process) error {
		defer ballast()()
		credentials, err := inventory.NewCredentialStore(p.Settings.Credentials)
		if err != nil {
			return err
		}
		var presence worker.Presence
		if status := p.Settings.StatusRedis; status.Reveal() != "" {
			second, err := queue.NewClient(queue.Address{URL: status, TLS: p.Settings.RedisTLS})
			if err != nil {
				return err
			}
			defer func() { _ = second.Close() }()
			presence = second
		}
		if !p.Stream.Archived() && p.Settings.Archive.Dir == "" {
			p.Log.Info("no archiver yet: the stream keeps the newest snapshots of each device only", "per_device", p.Settings.Stream.PerSubject)
		}
		collector := NewCollector(p.Settings)
		defer collector.Close() // after the server has stopped
		latest := state.NewLatest(p.Store, sites...)
		w := worker.New(worker.Options{
			Store: latest, Publisher: p.Stream, Collector: collector, Credentials: credentials, Presence: presence,
			Meter: p.Metrics, Log: p.Log, Name: processName(),
			Whole: p.Settings.Timeouts.Whole, RedialDelay: p.Settings.RedialDelay, Ladder: p.Settings.Retry,
		})
		server, err := queue.NewServer(queue.ServerOptions{
			Address: redisAt(p.Settings), Sessions: p.Settings.Concurrency, Grace: p.Settings.Grace, Handler: withinWindows(latest, w.Run), Hold: p.Hold, Log: p.Log,
		})
		if err != nil {
			return err
		}
		defer server.Stop()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { p.followCredentials(ctx, credentials, sites); return nil })
		g.Go(func() error { return latest.Follow(ctx) })
		if len(sites) > 0 {
			for _, site := range sites {
				if err := server.Serve(site); err != nil {
					return err
				}
			}
		} else {
			g.Go(func() error { return p.serveAll(ctx, server) })
		}
		g.Go(func() error {
			if err := server.Verify(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
		<-ctx.Done()
		return g.Wait()
	}
}

// serveAll serves every site in the registry, also those that come later.
func (p *Process) serveAll(ctx context.Context, server *queue.Server) error {
	err := p.Store.Watch(ctx, func(c backup.Change) error {
		if c.Deleted {
			return nil
		}
		return server.Serve(c.Site.Name)
	}, func() {}, backup.BucketSites)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

const (
	// How often devices whose login was refused are looked through, while there are any and while there are none: a
	// password in a file of its own, in the environment or from a command changes without the credentials file.
	refusedInterval   = time.Minute
	noRefusedInterval = 10 * time.Minute
)

// followCredentials reloads the credentials file when it changes. What cannot be read leaves the old in force.
func (p *Process) followCredentials(ctx context.Context, c *inventory.CredentialStore, sites []string) {
	tick := time.NewTicker(inventoryInterval)
	defer tick.Stop()
	var next time.Time // at once: the credential may have changed while no worker ran
	for {
		if now := time.Now(); !now.Before(next) {
			refused, err := p.liftRefused(ctx, c, sites)
			switch {
			case err != nil && ctx.Err() == nil:
				p.Log.Warn("blocked devices not looked through: trying again", "err", err)
			case refused > 0:
				next = now.Add(refusedInterval)
			default:
				next = now.Add(noRefusedInterval)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := c.Reload(); {
		case err != nil:
			p.Log.Error("credentials not reloaded: the old ones stay in force", "err", err)
		case changed:
			p.Log.Info("credentials reloaded")
			next = time.Time{}
		}
	}
}
