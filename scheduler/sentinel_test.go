package scheduler

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/secret"
)

// failoverPatience bounds a failover with the wait after it on a loaded machine: Sentinel rests for 30 s when it was kept
// from running.
const failoverPatience = 2 * time.Minute

// behind leads everything of the house to Redis through url, but for the test's own looks, which go to the Redis at direct.
func (h *house) behind(url, direct secret.URL) {
	h.t.Helper()
	o, err := redis.ParseURL(direct.Reveal())
	if err != nil {
		h.t.Fatal(err)
	}
	rc := redis.NewClient(o)
	h.t.Cleanup(func() { _ = rc.Close() })
	h.url, h.via, h.redis = url, url, rc
}

// awaitFailover is await with failoverPatience.
func (h *house) awaitFailover(what string, ok func() bool) {
	h.t.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !ok() {
		select {
		case <-h.ctx.Done():
			h.t.Fatalf("waited %s for %s", failoverPatience, what)
		case <-tick.C:
		}
	}
}

// told fails where the replica has not told of so many outages, and as many ends.
func (r *replica) told(begun, ended int) {
	r.h.t.Helper()
	if away, back := r.log.count("queue not reachable"), r.log.count("queue reachable again"); away != begun || back != ended {
		r.h.t.Errorf("told %d times that Redis is away and %d times that it is back, want %d and %d:\n%s", away, back, begun, ended, r.log)
	}
}

// TestFailover loses the master and has an empty replica promoted: every task is back, nothing runs before sessions had their
// time to notice, and the outage is told once.
func TestFailover(t *testing.T) {
	t.Parallel()
	s := embeddedtest.StartSentinel(t)
	h := newHouse(t)
	h.behind(s.URL, s.Replica.URL())
	ctx, cancel := context.WithTimeout(context.Background(), failoverPatience)
	t.Cleanup(cancel)
	h.ctx = ctx
	r := h.schedule(func(o *Options) { o.Timetable.RedialDelay = 0 })
	runs := h.work(succeed, "a")
	h.put(newDevice("first", "a", 0))
	next(h, runs, "a run before the failover")
	var all []device.Device
	for i := range 20 {
		d := newDevice(fmt.Sprint("r", i), "b", 100*time.Second)
		h.put(d)
		all = append(all, d)
	}
	h.await("all sites to be open", r.open)
	for _, d := range all {
		h.awaitTask(d, "scheduled") // in the replica, which follows
	}
	s.LoseReplica(t)
	s.KillMaster(t)
	killed := time.Now()
	h.put(newDevice("due", "a", 0)) // nobody is master yet
	for _, d := range all {
		h.awaitFailover("the tasks", func() bool { return h.task(d) == "scheduled" })
	}
	if limit, there := h.limit("a"); there {
		t.Errorf("the site has its limit %d back at once", limit)
	}
	h.awaitFailover("the run of a device that came due in the outage", func() bool { return len(runs) > 0 })
	if got := <-runs; got.device != "due" || got.at.Sub(killed) < vanishedDelay {
		t.Errorf("%s ran %s after the master's end, want due after %s", got.device, got.at.Sub(killed), vanishedDelay)
	}
	r.fence()
	r.told(1, 1)
}

// TestRefusedWrites has a Redis answer and take no writes, twice: reads that succeed do not end the outage.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	embeddedtest.RequireServer(t)
	for name, refusal := range map[string]struct{ begin, end []any }{
		"full":     {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		"readonly": {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			at := embeddedtest.Start(t, embedded.RedisServer).URL()
			h.behind(at, at)
			p := newProxy(h)
			r := h.schedule()
			r.fence()
			for outage := 1; outage <= 2; outage++ {
				if err := h.redis.Do(h.ctx, refusal.begin...).Err(); err != nil {
					t.Fatal(err)
				}
				d := newDevice(fmt.Sprint("r", outage), "fence", time.Minute)
				h.put(d)
				h.await("the outage to be told", func() bool { return r.log.count("queue not reachable") == outage })
				looks := func() int { return p.counted("get") + p.counted("set") } // at the limits, or whether it takes writes
				before := looks()
				h.await("four more looks", func() bool { return looks() >= before+4 })
				r.told(outage, outage-1)
				if err := h.redis.Do(h.ctx, refusal.end...).Err(); err != nil {
					t.Fatal(err)
				}
				h.awaitTask(d, "scheduled")
				r.fence()
				r.told(outage, outage)
			}
		})
	}
}
