package scheduler

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
)

// register fills the registry with devices at three sites whose slots are done and of which none is due soon.
func (h *house) register(n int) {
	h.t.Helper()
	now := time.Now()
	g := errgroup.Group{}
	g.SetLimit(64)
	for i := 0; n > 0; i++ {
		d, s := newDevice(fmt.Sprint("router-", i), fmt.Sprint("site-", i%3), -time.Hour), goodState()
		if table.Plan(d, nil, s, nil, now).At.Before(now.Add(table.Lookahead() + 2*patience)) {
			continue
		}
		n--
		g.Go(func() error {
			if _, err := h.store.PutState(h.ctx, d.Key(), s, 0); err != nil {
				return err
			}
			return h.store.PutDevice(h.ctx, d)
		})
	}
	if err := g.Wait(); err != nil {
		h.t.Fatal(err)
	}
}

// TestIdleTicks counts what passes between the scheduler and Redis while nothing is due: the sites' limits.
func TestIdleTicks(t *testing.T) {
	t.Parallel()
	const devices, sites, looks = 500, 3, 2
	h := newHouse(t)
	h.register(devices)
	p := newProxy(h)
	r := h.schedule()
	h.await("all sites to be open", func() bool { return p.counted("get") >= sites && r.open() })
	gets := p.counted("get")
	h.await("more looks at the limits", func() bool { return p.counted("get") >= gets+looks*sites })
	const opening = 100 // connections and sites; one command per device would be five times that
	if n := p.counted("") - p.counted("get"); n > opening {
		t.Errorf("%d commands beside the looks at the limits, with %d idle devices", n, devices)
	}
	h.put(newDevice("due", "site-0", time.Minute)) // the count counts
	h.await("a task", func() bool { return p.counted("evalsha")+p.counted("eval") > 0 })
}

// BenchmarkFleet loads 100,000 devices whose slots are done, and measures a tick with nothing due, its commands, and a full
// pass.
func BenchmarkFleet(b *testing.B) {
	const devices = 100_000
	h := newHouse(b)
	h.register(devices)
	p := newProxy(h)
	r := h.newReplica()
	heap := heapBytes()
	started := time.Now()
	r.load()
	loaded, held := time.Since(started), heapBytes()-heap
	if n := len(r.entries); n != devices {
		b.Fatalf("%d devices loaded", n)
	}
	tick := func(full bool) {
		now := time.Now()
		if _, err := r.keepLimits(h.ctx); err != nil {
			b.Fatal(err)
		}
		if full {
			if err := r.fullPass(h.ctx, now); err != nil {
				b.Fatal(err)
			}
		}
		r.ensureDue(h.ctx, now)
	}
	for range 2 { // opens the sites
		tick(true)
		r.load()
	}
	for name, full := range map[string]bool{"idle tick": false, "full pass": true} {
		b.Run(name, func(b *testing.B) {
			before := p.counted("")
			for b.Loop() {
				tick(full)
			}
			b.ReportMetric(float64(p.counted("")-before)/float64(b.N), "commands/op")
			b.ReportMetric(float64(held)/devices, "heap-B/device")
			b.ReportMetric(float64(loaded.Milliseconds()), "load-ms")
		})
	}
}

// load takes the registry in without running the loop.
func (r *replica) load() {
	r.h.t.Helper()
	ctx, cancel := context.WithCancel(r.h.ctx)
	defer cancel()
	err := r.o.Registry.Watch(ctx, func(c backup.Change) error { r.apply(c); return nil }, cancel,
		backup.BucketDevices, backup.BucketState, backup.BucketRequests, backup.BucketSites)
	if err != nil {
		r.h.t.Fatal(err)
	}
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
