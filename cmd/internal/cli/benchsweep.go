package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/device"
)

// sweep has a new worker back up the whole fleet: a slot of every router is due. The tasks are made while the sites are paused,
// so that it finds them all in the queues.
func (h *benchHouse) sweep(ctx context.Context, kind bench.Kind, profiled bool) (s bench.Sweep, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, benchStepTimeout, fmt.Errorf("%s sweep: not done within %s", kind, benchStepTimeout))
	defer cancel()
	h.progress.step("%s: %s sweep: making tasks", h.name, kind)
	if err := h.pause(ctx); err != nil {
		return s, err
	}
	w, err := h.startWorker(ctx, "worker "+string(kind), profiled)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, w.Stop()) }()
	if err := h.awaitServed(ctx); err != nil {
		return s, err
	}
	fresh, err := bench.UsageOf(w.PID())
	if err != nil {
		return s, err
	}
	if kind == bench.KindUnchanged {
		if err := h.warmUp(ctx); err != nil {
			return s, err
		}
	}
	out, started := newBenchOutcome(kind, h.load), time.Now()
	if err := h.enqueue(ctx, out.slot); err != nil {
		return s, err
	}
	s.Ask = time.Since(started)
	if err := out.awaitSlot(ctx); err != nil {
		return s, err
	}
	h.progress.step("%s: %s sweep", h.name, kind)
	before, err := h.begin(ctx, w)
	if err != nil {
		return s, err
	}
	if profiled {
		if err := w.Send(ctx, profileOrder{Begin: h.profile(kind)}); err != nil {
			return s, err
		}
	}
	if err := h.release(ctx, out); err != nil {
		return s, err
	}
	after, err := h.end(ctx, w)
	if err != nil {
		return s, err
	}
	if profiled {
		if err := w.Send(ctx, profileOrder{}); err != nil {
			return s, err
		}
		if err := w.Receive(ctx, &profileOrder{}); err != nil { // it has written them
			return s, err
		}
	}
	before.fill(&s, after)
	s.Idle = fresh.RSS
	out.fill(&s)
	return s, out.check()
}

// warmUp is a sweep that is not measured: a worker that has run for longer than one interval has seen every router before.
func (h *benchHouse) warmUp(ctx context.Context) error {
	out := newBenchOutcome(bench.KindUnchanged, h.load)
	if err := h.enqueue(ctx, out.slot); err != nil {
		return err
	}
	if err := out.awaitSlot(ctx); err != nil {
		return err
	}
	if err := h.release(ctx, out); err != nil {
		return err
	}
	if err := out.check(); err != nil {
		return err
	}
	return h.pause(ctx)
}

// enqueue makes each router's task for the slot, in place of the one for the slot that the scheduler has in mind.
func (h *benchHouse) enqueue(ctx context.Context, slot time.Time) error {
	const atOnce = 16
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, d := range h.devices {
		h.progress.count(i, h.load.Devices)
		g.Go(func() error {
			if _, err := h.parts.Queue.Remove(ctx, d.Site, d.ID); err != nil {
				return err
			}
			_, err := h.parts.Queue.EnsureNow(ctx, d.Site, backup.Task{Device: d.ID, Slot: slot.Unix(), Reason: backup.ReasonSlot}, false)
			return err
		})
	}
	return g.Wait()
}

var errBenchSwept = errors.New("every router has an outcome")

// release resumes the sites and hears the outcomes.
func (h *benchHouse) release(ctx context.Context, out *benchOutcome) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := h.parts.Store.Watch(ctx, func(c backup.Change) error {
			out.hear(c.Key, c.State)
			h.progress.count(out.heard, h.load.Devices)
			if out.heard == h.load.Devices {
				return errBenchSwept
			}
			return nil
		}, nil, backup.BucketState)
		if errors.Is(err, errBenchSwept) {
			return nil
		}
		return errors.Join(err, context.Cause(ctx))
	})
	g.Go(func() error { return h.amend(ctx, func(s *device.Site) { s.Paused = nil }) })
	return g.Wait()
}

// benchOutcome gathers the outcomes of a sweep. Its methods are for one goroutine at a time.
type benchOutcome struct {
	kind        bench.Kind
	load        bench.Load
	slot        time.Time
	heard, good int
	bytes       int64
	first, last time.Time
	bad         []string
}

func newBenchOutcome(kind bench.Kind, l bench.Load) *benchOutcome {
	return &benchOutcome{kind: kind, load: l, slot: time.Now().Truncate(time.Second).Add(time.Second)}
}

// awaitSlot waits until the slot has come.
func (o *benchOutcome) awaitSlot(ctx context.Context) error { return rest(ctx, time.Until(o.slot)) }

const badShown = 3

// hear takes a router's state, which counts where it shows an attempt for the slot that has ended.
func (o *benchOutcome) hear(key string, s backup.State) {
	if s.AttemptStarted.Before(o.slot) || s.Running != nil {
		return
	}
	o.heard++
	want := backup.ResultUnchanged
	if o.kind == bench.KindFirst {
		want = backup.ResultChanged
	}
	if s.Result == want && s.Bytes >= o.load.Size {
		o.good++
	} else if len(o.bad) < badShown {
		o.bad = append(o.bad, fmt.Sprintf("%s: %s, %d bytes %s", key, s.Result, s.Bytes, s.Reason))
	}
	o.bytes += int64(s.Bytes)
	if o.first.IsZero() || s.AttemptStarted.Before(o.first) {
		o.first = s.AttemptStarted
	}
	o.last = time.Now()
}

// check refuses a sweep in which not every router was backed up as it should have been.
func (o *benchOutcome) check() error {
	if o.good == o.load.Devices {
		return nil
	}
	return fmt.Errorf("%s sweep: %d of %d routers backed up as they should be: %s", o.kind, o.good, o.load.Devices, strings.Join(o.bad, "; "))
}

func (o *benchOutcome) fill(s *bench.Sweep) {
	s.Devices, s.Bytes, s.Drain = o.good, o.bytes, o.last.Sub(o.first)
}

// benchLook is what all processes have used at one moment.
type benchLook struct {
	worker, redis, nats, scheduler, simulator, self bench.Usage
	machine                                         bench.Machine
	metrics                                         bench.Metrics
}

// begin looks before a sweep: at the metrics first, so that the worker's answer is in no figure.
func (h *benchHouse) begin(ctx context.Context, w *benchProcess) (l benchLook, err error) {
	m, err := bench.Scrape(ctx, w.address)
	if err != nil {
		return l, err
	}
	l, err = h.use(w)
	l.metrics = m
	return l, err
}

// end looks after a sweep: at the metrics last, whose making shows in the allocations alone.
func (h *benchHouse) end(ctx context.Context, w *benchProcess) (l benchLook, err error) {
	if l, err = h.use(w); err != nil {
		return l, err
	}
	l.metrics, err = bench.Scrape(ctx, w.address)
	return l, err
}

// use reads what the processes have used, the worker's first.
func (h *benchHouse) use(w *benchProcess) (l benchLook, err error) {
	worker, err := bench.UsageOf(w.PID())
	if err != nil {
		return l, err
	}
	if l, err = h.surroundings(); err != nil {
		return l, err
	}
	l.worker = worker
	for _, p := range []struct {
		pid int
		to  *bench.Usage
	}{{h.redis.PID(), &l.redis}, {h.nats.PID(), &l.nats}, {h.scheduler.PID(), &l.scheduler}} {
		if p.pid == 0 { // miniredis, in this process
			continue
		}
		if *p.to, err = bench.UsageOf(p.pid); err != nil {
			return l, err
		}
	}
	return l, nil
}

// fill says what was used between two looks.
func (l benchLook) fill(s *bench.Sweep, after benchLook) {
	l.surround(s, after)
	s.CPU = after.worker.CPU - l.worker.CPU
	s.Redis, s.NATS, s.Scheduler = after.redis.CPU-l.redis.CPU, after.nats.CPU-l.nats.CPU, after.scheduler.CPU-l.scheduler.CPU
	s.Idle, s.Peak = l.worker.RSS, after.worker.Peak
	grown := after.metrics.Since(l.metrics)
	s.Mallocs, s.AllocBytes = grown["go_memstats_mallocs_total"], grown["go_memstats_alloc_bytes_total"]
	s.Stages = grown.Stages()
}
