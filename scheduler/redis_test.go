package scheduler

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// fail is the outcome of a failure on the ladder.
func fail(s *backup.State, wait time.Duration) backup.Next {
	s.Result, s.Kind, s.Failures, s.NextAt = backup.ResultFailed, fault.Timeout, s.Failures+1, time.Now().Add(wait)
	return backup.Next{Action: backup.Again, Delay: wait, Counted: true}
}

// TestLadder has a device fail twice: the second run waits for the step.
func TestLadder(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.schedule(func(o *Options) { o.Timetable.RedialDelay = 0 })
	ended := make(chan backup.State, 10)
	runs := h.work(func(_ string, s *backup.State) backup.Next {
		n := fail(s, 4*time.Second)
		ended <- *s
		return n
	}, "a")
	h.put(newDevice("r1", "a", 0))
	next(h, runs, "the first run")
	first := next(h, ended, "the first outcome")
	if second := next(h, runs, "the second run"); second.at.Unix() < first.NextAt.Unix() {
		t.Errorf("the second run began at %s, the ladder says %s", second.at, first.NextAt)
	}
}

// TestFlush empties Redis while a device waits on the ladder: its task is back with all others, for the moment that the
// registry names, and nothing runs early.
func TestFlush(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.schedule(func(o *Options) { o.Timetable.RedialDelay = 0 })
	ended := make(chan backup.State, 10)
	runs := h.work(func(id string, s *backup.State) backup.Next {
		if id != "failing" {
			return succeed(id, s)
		}
		n := fail(s, 100*time.Second) // within the lookahead
		ended <- *s
		return n
	}, "a")
	failing := newDevice("failing", "a", 0)
	all := []device.Device{failing}
	for i := range 20 {
		d := newDevice(fmt.Sprint("r", i), "b", 100*time.Second)
		h.put(d)
		all = append(all, d)
	}
	h.put(failing)
	next(h, runs, "the first run")
	failed := next(h, ended, "the outcome")
	h.awaitTask(failing, "retry")
	h.awaitTask(all[20], "scheduled")
	h.await("all sites to be open", r.open)
	for range 2 { // the second flush comes before the limits are back
		h.flush()
		for _, d := range all {
			h.awaitTask(d, "scheduled")
		}
		if got := h.scheduledAt(failing); got != failed.NextAt.Unix() {
			t.Errorf("after the flush the task is for %d, the ladder says %d", got, failed.NextAt.Unix())
		}
		if limit, there := h.limit("a"); there {
			t.Errorf("the site has its limit %d back at once", limit)
		}
	}
	if err := r.queue.SetLimits(h.ctx, "a", device.Limits{Sessions: device.Unlimited}); err != nil { // nothing but the ladder holds it
		t.Fatal(err)
	}
	h.put(newDevice("due", "a", 0))
	if got := next(h, runs, "the run of a device that is due"); got.device != "due" {
		t.Errorf("the flush made %s run", got.device)
	}
	if s, _, err := h.store.State(h.ctx, failing.Key()); err != nil || s.Failures != 1 || !s.NextAt.Equal(failed.NextAt) {
		t.Errorf("after the flush the device has %d failures and waits until %s, not %s (%v)", s.Failures, s.NextAt, failed.NextAt, err)
	}
}

// TestVanishedLimit goes through the life of a site's limit at chosen times.
func TestVanishedLimit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.newReplica(func(o *Options) { o.SiteLimit = 3 })
	r.apply(backup.Change{Bucket: backup.BucketDevices, Key: device.Key("a", "r1"), Device: newDevice("r1", "a", time.Minute)})
	look := func(wantEmptied bool, want int, wantThere bool) {
		t.Helper()
		emptied, err := r.keepLimits(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		limit, there := h.limit("a")
		if emptied != wantEmptied || there != wantThere || limit != want {
			t.Errorf("emptied %v, limit %d there %v; want %v, %d, %v", emptied, limit, there, wantEmptied, want, wantThere)
		}
	}
	change := func(s device.Site) {
		t.Helper()
		h.putSite(s)
		r.apply(backup.Change{Bucket: backup.BucketSites, Key: s.Name, Site: s})
	}
	look(false, 3, true) // a fresh site, at once
	site, revision, err := h.store.Site(h.ctx, "a")
	if err != nil || revision == 0 || !reflect.DeepEqual(site, device.Site{Name: "a", Opened: true}) {
		t.Fatalf("the site's record is %+v, revision %d: %v", site, revision, err)
	}
	change(site)
	site.Limit = 5
	change(site)
	look(false, 5, true)
	for range 2 { // each time anew
		h.flush()
		look(true, 0, false)
		h.lostFor("a", vanishedDelay/2)
		look(true, 0, false)
		h.lostFor("a", vanishedDelay)
		look(true, 5, true)
		look(false, 5, true)
	}
}

// TestNewQueue trusts an empty Redis once.
func TestNewQueue(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.newReplica(func(o *Options) { o.NewQueue = true })
	site := device.Site{Name: "a", Limit: 2, Opened: true}
	h.putSite(site)
	r.apply(backup.Change{Bucket: backup.BucketSites, Key: "a", Site: site})
	if emptied, err := r.keepLimits(h.ctx); err != nil || emptied {
		t.Fatalf("first look: emptied %v, %v", emptied, err)
	}
	if limit, there := h.limit("a"); !there || limit != 2 {
		t.Errorf("the limit in a new queue is %d, there %v", limit, there)
	}
	h.flush()
	if emptied, err := r.keepLimits(h.ctx); err != nil || !emptied {
		t.Fatalf("look after a flush: emptied %v, %v", emptied, err)
	}
	if _, there := h.limit("a"); there {
		t.Error("the wait is skipped a second time")
	}
}

// TestChangedLimit changes a site in the registry while two replicas run.
func TestChangedLimit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.schedule(), h.schedule()
	h.put(newDevice("r1", "a", time.Minute))
	for _, want := range []int{device.Unlimited, 7, 3} {
		if want != device.Unlimited {
			site, revision, err := h.store.Site(h.ctx, "a")
			if err != nil || !site.Opened {
				t.Fatalf("site %+v: %v", site, err)
			}
			site.Limit = want
			if _, err := h.store.PutSite(h.ctx, site, revision); err != nil {
				t.Fatal(err)
			}
		}
		h.await(fmt.Sprintf("the limit %d in Redis", want), func() bool {
			limit, there := h.limit("a")
			site, _, err := h.store.Site(h.ctx, "a")
			return there && limit == want && err == nil && site.Opened
		})
	}
	for _, r := range []*replica{one, two} {
		if text := r.log.String(); r.log.count("level=WARN") != 0 {
			t.Errorf("two replicas opened one site: %s", text)
		}
	}
}

// TestHold enqueues nothing while told so. It counts the turns of the loop on the way: a request does not wait for a tick.
func TestHold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var hold atomic.Bool
	var asked atomic.Int64
	hold.Store(true)
	d := newDevice("r1", "a", time.Minute)
	h.put(d)
	h.schedule(func(o *Options) {
		o.Hold = func() bool { asked.Add(1); return hold.Load() }
	})
	h.request(d, false)
	const requests = 2 * int64(patience/tickInterval)
	before := asked.Load()
	for i := range requests {
		h.request(newDevice(fmt.Sprint("none-", i), "a", 0), false)
	}
	h.await("a turn for each request", func() bool { return asked.Load() >= before+requests })
	if n, err := h.redis.DBSize(h.ctx).Result(); err != nil || n != 0 {
		t.Errorf("%d keys in Redis during the hold: %v", n, err)
	}
	hold.Store(false)
	h.awaitTask(d, "pending")
}

// TestRedisAway cuts Redis off and brings it back, twice: one line for each end of each outage, and the tasks are there.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := newProxy(h)
	r := h.schedule()
	r.fence()
	for outage := 1; outage <= 2; outage++ {
		p.cut()
		d := newDevice(fmt.Sprint("r", outage), "a", time.Minute)
		h.put(d)
		h.await("the outage to be told", func() bool { return r.log.count("queue not reachable") == outage })
		for i := range 20 { // each wakes the loop, between two looks at the limits too
			h.request(newDevice(fmt.Sprint("none-", i), "a", 0), false)
		}
		p.heal()
		h.awaitTask(d, "scheduled")
		r.fence()
		if away, back := r.log.count("queue not reachable"), r.log.count("queue reachable again"); away != outage || back != outage {
			t.Errorf("after %d outages it is told %d times that Redis is away and %d times that it is back:\n%s", outage, away, back, r.log)
		}
	}
}

// TestRedisHangs stops Redis in the middle of a batch: the loop does not wait for each of its devices.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	const devices = 100
	h := newHouse(t)
	p := newProxy(h)
	all := make([]device.Device, devices)
	for i := range all {
		all[i] = newDevice(fmt.Sprint("r", i), "a", time.Minute)
		h.put(all[i])
	}
	r := h.newReplica()
	r.queue.before = sync.OnceFunc(p.hang)
	r.start()
	h.await("the hang to be told", func() bool { return r.log.count("queue not reachable") == 1 })
	p.heal()
	for _, d := range all {
		h.awaitTask(d, "scheduled")
	}
	h.await("the end to be told", func() bool { return r.log.count("queue reachable again") == 1 })
	if n := r.log.count("queue not reachable"); n != 1 {
		t.Errorf("one hang is told %d times", n)
	}
}
