package scheduler

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// TestNewDevice has two replicas see a device come: one task, at its first slot, and one run.
func TestNewDevice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	one, two := h.schedule(), h.schedule()
	d := newDevice("r1", "a", 4*time.Second)
	h.put(d)
	for _, r := range []*replica{one, two} {
		h.await("the replica's ensure", func() bool { return len(r.queue.found(d.ID)) > 0 })
	}
	if got, want := h.scheduledAt(d), table.first(d).Unix(); got != want {
		t.Errorf("the task is scheduled at %d, the first slot is %d", got, want)
	}
	counts, err := one.queue.Counts(h.ctx, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	if n := counts["a"]; n["scheduled"] != 1 || n["pending"]+n["active"]+n["retry"]+n["completed"]+n["archived"] != 0 {
		t.Errorf("two replicas made %v of one device", n)
	}
	runs := h.work(succeed, "a")
	got := next(h, runs, "the run")
	if got.slot != table.first(d).Unix() || got.reason != backup.ReasonSlot || got.at.Unix() < got.slot {
		t.Errorf("the run is %+v, its slot is %d", got, table.first(d).Unix())
	}
	h.awaitTask(d, "completed")
	one.fence()
	two.fence()
	if n := len(runs); n != 0 || h.task(d) != "completed" {
		t.Errorf("%d more runs, the task is %s", n, h.task(d))
	}
}

// TestDeviceGoes takes devices out of the registry in each way: their tasks go, and a moved one has its task at the other
// site.
func TestDeviceGoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	disabled, removed, moved, stays := newDevice("disabled", "a", time.Minute), newDevice("removed", "a", time.Minute),
		newDevice("moved", "a", time.Minute), newDevice("stays", "a", time.Minute)
	h.put(stays)
	r := h.schedule() // one is there already, the others come
	h.put(disabled)
	h.put(removed)
	h.put(moved)
	h.awaitTask(disabled, "scheduled")
	h.awaitTask(removed, "scheduled")
	h.awaitTask(moved, "scheduled")

	disabled.Enabled = false
	h.put(disabled)
	if err := h.store.DeleteDevice(h.ctx, removed.Key()); err != nil {
		t.Fatal(err)
	}
	there := moved
	there.Site = "b"
	if err := h.store.MoveDevice(h.ctx, moved.Key(), there); err != nil {
		t.Fatal(err)
	}
	h.awaitTask(disabled, "")
	h.awaitTask(removed, "")
	h.awaitTask(moved, "")
	h.awaitTask(there, "scheduled")
	if h.scheduledAt(there) != table.first(there).Unix() {
		t.Errorf("the moved device's task is at %d, its slot at %d", h.scheduledAt(there), table.first(there).Unix())
	}
	disabled.Enabled = true
	h.put(disabled)
	h.awaitTask(disabled, "scheduled")
	r.fence()
	if got := h.task(stays) + h.task(removed) + h.task(moved); got != "scheduled" {
		t.Errorf("the tasks of the device that stays and of the two that went: %q", got)
	}
}

// TestBlockedDevice refuses a login: the task is archived and stays so, until the block in the registry goes.
func TestBlockedDevice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	noRedial := func(o *Options) { o.Timetable.RedialDelay = 0 } // or that would keep it, and not the block
	r := h.schedule(noRedial)
	var lifted atomic.Bool
	runs := h.work(func(id string, s *backup.State) backup.Next {
		if lifted.Load() {
			return succeed(id, s)
		}
		s.Result, s.Block = backup.ResultBlocked, &backup.Block{Kind: fault.Auth, At: time.Now()}
		return backup.Next{Action: backup.Stop}
	}, "a")
	d := newDevice("r1", "a", 0)
	h.put(d)
	next(h, runs, "the refused run")
	h.awaitTask(d, "archived")
	r.fence()
	h.request(d, false)
	r.fence()
	later := h.schedule(noRedial) // knows the block from the registry alone
	later.fence()
	if n := len(runs); n != 0 || h.task(d) != "archived" || len(later.queue.found(d.ID)) != 0 {
		t.Fatalf("%d runs of a blocked device, the task is %s, a new replica's ensures found %v", n, h.task(d), later.queue.found(d.ID))
	}
	lifted.Store(true)
	h.setState(d, func(s *backup.State) { s.Block = nil })
	next(h, runs, "the run after the block")
	h.awaitTask(d, "completed")
}

// TestForcedRequest passes the block that a plain request does not pass.
func TestForcedRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := newDevice("r1", "a", -time.Hour)
	h.setState(d, func(s *backup.State) { s.V, s.Block = backup.StateVersion, &backup.Block{Kind: fault.HostKey} })
	h.put(d)
	r := h.schedule()
	h.request(d, false)
	r.fence()
	if got := h.task(d); got != "" {
		t.Errorf("the task of a blocked device after a request is %s", got)
	}
	h.request(d, true)
	h.awaitTask(d, "pending")
}

// TestRequest asks for a device whose slot is done, and again while it runs: each request gets a run that began after it,
// and nothing runs once more.
func TestRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := newDevice(quietID(), "a", -time.Hour)
	h.setState(d, func(s *backup.State) { *s = goodState() })
	h.put(d)
	r := h.schedule()
	r.fence()
	if n := len(r.queue.found(d.ID)); n != 0 {
		t.Fatalf("%d ensures of a device whose slot is done", n)
	}
	h.request(d, false)
	h.awaitTask(d, "pending")
	release := make(chan struct{})
	runs := h.work(func(id string, s *backup.State) backup.Next {
		<-release
		return succeed(id, s)
	}, "a")
	first := next(h, runs, "the first run")
	h.request(d, false)
	active := func() (n int) {
		for _, s := range r.queue.found(d.ID) {
			if s == backup.Active {
				n++
			}
		}
		return n
	}
	h.await("an ensure that finds the task active, and another", func() bool { return active() >= 2 })
	release <- struct{}{}
	second := next(h, runs, "the run for the request that came while the first was on")
	if first.reason != backup.ReasonRequest || second.reason != backup.ReasonRequest {
		t.Errorf("the runs' reasons are %s and %s", first.reason, second.reason)
	}
	close(release)
	h.awaitTask(d, "completed")
	r.fence()
	if n := len(runs); n != 0 || h.task(d) != "completed" {
		t.Errorf("%d runs that nobody asked for, the task is %s", n, h.task(d))
	}
}

// TestPutBackRequestKeepsItsTime has a request that a fault of ours has put back: it is queued for its time, not for now.
func TestPutBackRequestKeepsItsTime(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := newDevice("r1", "a", -time.Hour)
	h.setState(d, func(s *backup.State) { *s = goodState() })
	h.request(d, false)
	h.setState(d, func(s *backup.State) { s.PutBack, s.NextAt = 1<<40, time.Now().Add(30*time.Second) })
	h.put(d)
	r := h.schedule()
	h.awaitTask(d, "scheduled")
	r.fence()
	if got := h.task(d); got != "scheduled" {
		t.Errorf("the task is %s", got)
	}
}
