// Package scheduler makes sure that every device that is due has a task in its site's queue. It remembers nothing: every
// replica runs the same loop over the same records, compares what should exist with what does, and the constant task ids
// make the work of two replicas one.
package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// Registry is where devices, their states, requests and sites stand.
type Registry interface {
	Watch(ctx context.Context, fn func(backup.Change) error, ready func(), buckets ...backup.Bucket) error
	Site(ctx context.Context, name string) (device.Site, uint64, error)
	PutSite(ctx context.Context, s device.Site, revision uint64) (uint64, error)
}

// Queue is where tasks stand.
type Queue interface {
	Ensure(ctx context.Context, site string, t backup.Task, at time.Time) (backup.Standing, error)
	EnsureNow(ctx context.Context, site string, t backup.Task, head bool) (backup.Standing, error)
	Remove(ctx context.Context, site, deviceID string) (backup.Standing, error)
	Missing(ctx context.Context, site string, deviceIDs []string) ([]string, error)
	Sweep(ctx context.Context, site string, deviceIDs []string) (repaired int, err error)
	Limits(ctx context.Context, sites []string) (map[string]device.Limits, error)
	SetLimits(ctx context.Context, site string, l device.Limits) error
	RestoreLimits(ctx context.Context, site string, l device.Limits, wait time.Duration) error
	LostFor(ctx context.Context, sites []string) (map[string]time.Duration, error)
	Writable(ctx context.Context) error
}

// Options are a Scheduler's parts and figures.
type Options struct {
	Registry  Registry
	Queue     Queue
	Timetable Timetable
	SiteLimit int         // limit of a site that has none of its own; 0 hands out nothing
	NewQueue  bool        // Redis was started empty by this process, and no worker can hold a session from before
	Hold      func() bool // while true nothing is enqueued
	Log       *slog.Logger
}

const (
	tickInterval     = time.Second
	limitsInterval   = 2 * time.Second
	fullPassInterval = 3 * time.Minute
	recheckDelay     = 2 * time.Second  // a device whose task is in work although it is due again
	errorDelay       = 5 * time.Second  // a device whose ensure failed
	vanishedDelay    = 20 * time.Second // sessions notice in this time that their tasks are gone
	requestTTL       = 24 * time.Hour   // as the store's
	ensuresAtOnce    = 8
	ensureErrorsMax  = 8 // then Redis is away, and the rest of the batch comes later: a hang costs one time-out, not one per device
)

// Scheduler is one replica.
type Scheduler struct {
	o Options

	mu      sync.Mutex // guards what the loop writes and Fleet reads
	entries map[string]*entry
	due     dueHeap
	sites   map[string]device.Site

	// Only the loop touches these.
	drops  []string        // keys of devices whose task is to go
	down   bool            // Redis does not answer or takes no writes; told once
	closed map[string]bool // sites whose record cannot be read or written; told once
}

// New makes a Scheduler.
func New(o Options) *Scheduler {
	if o.Hold == nil {
		o.Hold = func() bool { return false }
	}
	return &Scheduler{o: o, entries: map[string]*entry{}, sites: map[string]device.Site{}, closed: map[string]bool{}}
}

// Run works until ctx ends. It returns an error only where the registry's watch fails for good.
func (s *Scheduler) Run(ctx context.Context) error {
	changes := make(chan backup.Change, 256)
	ready := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		deliver := func(c backup.Change) error {
			select {
			case changes <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := s.o.Registry.Watch(ctx, deliver, func() { close(ready) },
			backup.BucketDevices, backup.BucketState, backup.BucketRequests, backup.BucketSites)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	g.Go(func() error { s.loop(ctx, changes, ready); return nil })
	return g.Wait()
}

func (s *Scheduler) loop(ctx context.Context, changes <-chan backup.Change, ready <-chan struct{}) {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	var lastLimits, lastFull time.Time
	loaded := false
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-changes:
			s.apply(c)
			if c.Bucket == backup.BucketSites {
				lastLimits = time.Time{} // who pauses a site does not wait
			}
			if !loaded || c.Bucket != backup.BucketRequests && c.Bucket != backup.BucketSites {
				continue
			}
		case <-ready:
			ready, loaded = nil, true
			for drained := false; !drained; { // what the watch delivered before it was ready
				select {
				case c := <-changes:
					s.apply(c)
				default:
					drained = true
				}
			}
			s.mu.Lock()
			s.o.Log.Info("registry loaded", "devices", len(s.entries), "sites", len(s.sites))
			s.mu.Unlock()
		case <-tick.C:
		}
		if !loaded || s.o.Hold() {
			continue
		}
		now := time.Now()
		full := now.Sub(lastFull) >= fullPassInterval
		if now.Sub(lastLimits) >= limitsInterval {
			emptied, err := s.look(ctx)
			s.tellRedis(err)
			if err != nil {
				continue
			}
			full, lastLimits = full || emptied, now
		}
		if full {
			if err := s.fullPass(ctx, now); err != nil {
				s.tellRedis(err)
				continue
			}
			lastFull = now
		}
		if err := s.dropTasks(ctx); err != nil {
			s.tellRedis(err)
			continue
		}
		s.ensureDue(ctx, now)
	}
}

// look is keepLimits, in an outage only once Redis takes writes again: reads may have succeeded all along.
func (s *Scheduler) look(ctx context.Context) (emptied bool, err error) {
	if s.down {
		if err := s.o.Queue.Writable(ctx); err != nil {
			return false, err
		}
	}
	return s.keepLimits(ctx)
}

// tellRedis says once that Redis is away, or takes no writes, and once that it is back. Only look ends an outage.
func (s *Scheduler) tellRedis(err error) {
	switch {
	case err != nil && !s.down:
		s.o.Log.Warn("queue not reachable: waiting for it", "err", err)
	case err == nil && s.down:
		s.o.Log.Info("queue reachable again")
	}
	s.down = err != nil
}

// ensureDue puts a task into the queue for every device whose time has come.
func (s *Scheduler) ensureDue(ctx context.Context, now time.Time) {
	s.mu.Lock()
	batch := s.due.popUntil(now.Add(s.o.Timetable.Lookahead()))
	s.mu.Unlock()
	g := errgroup.Group{}
	g.SetLimit(ensuresAtOnce)
	var failed atomic.Int32
	for _, e := range batch {
		g.Go(func() error {
			at, err := now.Add(s.o.Timetable.Lookahead()+errorDelay), error(nil)
			if failed.Load() < ensureErrorsMax {
				at, err = s.ensure(ctx, e, now)
			}
			if err != nil {
				failed.Add(1)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if !at.IsZero() && !e.gone && e.index < 0 { // a change in between has planned it anew already
				s.due.put(e, at)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		s.tellRedis(err)
	}
}

// ensure handles one due device and returns when to look at it again without any change: the zero time is never.
func (s *Scheduler) ensure(ctx context.Context, e *entry, now time.Time) (time.Time, error) {
	s.mu.Lock()
	p, d := e.plan, e.device
	s.mu.Unlock()
	t := backup.Task{Device: d.ID, Slot: p.Slot, Reason: p.Reason}
	var (
		standing backup.Standing
		err      error
	)
	if p.Urgent && !p.At.After(now) { // one that a fault of ours put back, or that waits for a session, keeps its time
		standing, err = s.o.Queue.EnsureNow(ctx, d.Site, t, false)
	} else {
		standing, err = s.o.Queue.Ensure(ctx, d.Site, t, p.At)
	}
	horizon := now.Add(s.o.Timetable.Lookahead()) // ensureDue looks this far ahead, now and when it comes again
	switch {
	case err != nil:
		return horizon.Add(errorDelay), err
	case standing == backup.Active:
		return horizon.Add(recheckDelay), nil
	}
	return time.Time{}, nil
}

// dropTasks takes the tasks of removed, moved and disabled devices out of the queue. One that is in work finishes: what its
// worker writes is still true. One that cannot be dropped is dropped by the worker that gets it.
func (s *Scheduler) dropTasks(ctx context.Context) error {
	for len(s.drops) > 0 {
		site, id, err := device.SplitKey(s.drops[0])
		if err == nil { // a key that we did not write names no task of ours
			if _, err := s.o.Queue.Remove(ctx, site, id); err != nil {
				return err
			}
		}
		s.drops = s.drops[1:]
	}
	return nil
}

// fullPass looks whether every device that should have a task has one: the queue may have lost any of them, and a window
// may have closed before a pending one's turn came, whereupon its worker let it go.
func (s *Scheduler) fullPass(ctx context.Context, now time.Time) error {
	horizon := now.Add(s.o.Timetable.Lookahead())
	bySite := map[string][]string{}
	s.mu.Lock()
	for name := range s.sites {
		bySite[name] = nil
	}
	due := 0
	for _, e := range s.entries {
		switch e.plan = s.planOf(e, now); {
		case e.plan.None():
		case !e.plan.At.After(horizon):
			bySite[e.device.Site] = append(bySite[e.device.Site], e.device.ID)
			due++
		case e.index < 0:
			s.due.put(e, e.plan.At)
		}
	}
	s.mu.Unlock()
	lost := 0
	for site, ids := range bySite {
		missing, err := s.missing(ctx, site, ids)
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, id := range missing {
			if e := s.entries[device.Key(site, id)]; e != nil {
				s.due.put(e, e.plan.At)
				lost++
			}
		}
		s.mu.Unlock()
	}
	s.o.Log.Debug("full pass", "due", due, "without_task", lost, "took", time.Since(now).Round(time.Millisecond))
	return nil
}

// missing tells which devices of a site have no task, after its queue is swept.
func (s *Scheduler) missing(ctx context.Context, site string, ids []string) ([]string, error) {
	repaired, err := s.o.Queue.Sweep(ctx, site, ids)
	if err != nil {
		return nil, err
	}
	if repaired > 0 {
		s.o.Log.Warn("queue repaired: Redis had lost parts of it", "site", site, "tasks", repaired)
	}
	return s.o.Queue.Missing(ctx, site, ids)
}

// keepLimits makes the limits in Redis those of the registry. A site whose key vanished gets it back only after sessions
// that Redis no longer counts had time to notice. It says whether Redis seems to have been emptied.
func (s *Scheduler) keepLimits(ctx context.Context) (emptied bool, err error) {
	s.mu.Lock()
	sites := make([]device.Site, 0, len(s.sites))
	names := make([]string, 0, len(s.sites))
	for name, site := range s.sites {
		sites, names = append(sites, site), append(names, name)
	}
	s.mu.Unlock()
	if len(names) == 0 {
		return false, nil
	}
	standing, err := s.o.Queue.Limits(ctx, names)
	if err != nil {
		return false, err
	}
	lost, err := s.lost(ctx, sites, standing)
	if err != nil {
		return len(lost) > 0, err
	}
	for _, site := range sites {
		limits, there := standing[site.Name]
		if ago, gone := lost[site.Name]; gone {
			emptied = true // at each look, also the one that writes the limit: Redis may have been emptied once more
			if ago == 0 {
				s.o.Log.Warn("queue lost its limit: nothing is handed out until open sessions have noticed", "site", site.Name, "wait", vanishedDelay)
			}
			if ago < vanishedDelay {
				continue
			}
		}
		if !there || limits != site.Limits(s.o.SiteLimit) || !site.Opened {
			if err := s.openSite(ctx, site.Name); err != nil {
				return emptied, err
			}
		}
	}
	s.o.NewQueue = false
	return emptied, nil
}

// lost says since when it is known that limits which stood in Redis do so no more.
func (s *Scheduler) lost(ctx context.Context, sites []device.Site, standing map[string]device.Limits) (map[string]time.Duration, error) {
	var names []string
	for _, site := range sites {
		if _, there := standing[site.Name]; !there && site.Opened && !s.o.NewQueue {
			names = append(names, site.Name)
		}
	}
	return s.o.Queue.LostFor(ctx, names)
}

// openSite writes the site's limits to Redis, as the registry has them now: this replica may have stalled, and must not
// bring back what somebody has changed since. Then it records that they have stood there; from then on the queue itself sees
// to it that they come back only after the wait. The error is the queue's; a site whose record fails waits for the next look,
// and the others do not wait for it.
func (s *Scheduler) openSite(ctx context.Context, name string) error {
	site, revision, err := s.o.Registry.Site(ctx, name)
	if err != nil {
		s.tellClosed(name, err)
		return nil
	}
	if revision == 0 {
		site.Name = name
	}
	limits := site.Limits(s.o.SiteLimit)
	if site.Opened && !s.o.NewQueue {
		err = s.o.Queue.RestoreLimits(ctx, name, limits, vanishedDelay)
	} else {
		err = s.o.Queue.SetLimits(ctx, name, limits)
	}
	if err != nil {
		return err
	}
	if !site.Opened {
		site.Opened = true
		// On a conflict another replica was quicker, and its change is on its way here.
		if _, err := s.o.Registry.PutSite(ctx, site, revision); err != nil && !errors.Is(err, backup.ErrConflict) {
			s.tellClosed(name, err)
			return nil
		}
	}
	delete(s.closed, name)
	return nil
}

func (s *Scheduler) tellClosed(site string, err error) {
	if !s.closed[site] {
		s.closed[site] = true
		s.o.Log.Error("site's record fails: its limits in the queue stay as they are", "site", site, "err", err)
	}
}
