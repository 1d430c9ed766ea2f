package scheduler

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

func windows(t *testing.T, texts ...string) device.Windows {
	t.Helper()
	var ws device.Windows
	for _, text := range texts {
		w, err := device.ParseWindow(text)
		if err != nil {
			t.Fatal(err)
		}
		ws = append(ws, w)
	}
	return ws
}

// closedNow is a window that opens in three hours at the earliest.
func closedNow(t *testing.T) device.Windows {
	t.Helper()
	from := time.Now().UTC().Add(4 * time.Hour)
	return windows(t, fmt.Sprintf("%02d:00-%s", from.Hour(), from.Add(2*time.Hour).Format("15:04")))
}

// TestPlanInWindows plans around a window from 01:00 to 03:00: epoch is at 12:00.
func TestPlanInWindows(t *testing.T) {
	t.Parallel()
	night := windows(t, "01:00-03:00")
	d := dev("r1")
	for i := 2; table.slot(d, backup.State{V: 1, GoodStarted: epoch}, epoch).Sub(epoch)-time.Hour < 5*time.Hour/2; i++ {
		d = dev(fmt.Sprint("r", i)) // one that has no slot of its own in the window: slots are six hours apart
	}
	opens := epoch.Add(13 * time.Hour)
	place := opened(d, night, epoch)
	if wait := place.Sub(opens); wait <= 0 || wait >= windowSpread {
		t.Fatalf("the device's place in the window is %s after it opens", wait)
	}
	good := backup.State{V: 1, GoodStarted: epoch.Add(-time.Second), Result: backup.ResultUnchanged}
	slot := table.slot(d, good, epoch)
	slotOf := func(at time.Time) int64 { return table.slot(d, good, at).Unix() }
	inside := opens.Add(30 * time.Minute)
	for name, tc := range map[string]struct {
		windows device.Windows
		s       backup.State
		request *backup.Request
		now     time.Time
		want    Plan
	}{
		"what is due waits for the opening": {night, good, nil, slot, Plan{place, slotOf(place), false, backup.ReasonSlot}},
		"long before its slot too":          {night, good, nil, epoch, Plan{place, slotOf(place), false, backup.ReasonSlot}},
		"at the opening nothing changes":    {night, good, nil, opens, Plan{place, slotOf(opens), false, backup.ReasonSlot}},
		"nor until its place comes":         {night, good, nil, place.Add(-time.Second), Plan{place, slotOf(place), false, backup.ReasonSlot}},
		"a new device waits":                {night, backup.State{}, nil, epoch, Plan{place, table.first(d).Unix(), false, backup.ReasonSlot}},
		"a request does not":                {night, good, &backup.Request{Since: 7}, epoch, Plan{epoch, slot.Unix(), true, backup.ReasonRequest}},
		"the ladder waits": {night, backup.State{V: 1, Failures: 1, Kind: fault.Timeout, NextAt: epoch.Add(time.Hour)}, nil, epoch.Add(10 * time.Minute),
			Plan{place, table.first(d).Unix(), false, backup.ReasonSlot}},
		"the ladder within the window": {night, backup.State{V: 1, Failures: 1, Kind: fault.Timeout, NextAt: inside}, nil, opens.Add(20 * time.Minute),
			Plan{inside, table.first(d).Unix(), false, backup.ReasonSlot}},
		"the next look at an open session waits": {night, backup.State{V: 1, Running: &backup.Running{Until: epoch.Add(time.Minute)}}, nil, epoch,
			Plan{place, table.first(d).Unix(), false, backup.ReasonSlot}},
		"a missed window waits for the next": {night, good, nil, opens.Add(2 * time.Hour),
			Plan{opened(d, night, opens.Add(2*time.Hour)), slotOf(opens.Add(2 * time.Hour)), false, backup.ReasonSlot}},
		"windows that never open": {device.Windows{{}}, good, nil, epoch, Plan{}},
	} {
		got := table.Plan(d, tc.windows, tc.s, tc.request, tc.now)
		if !got.At.Equal(tc.want.At) || got.Slot != tc.want.Slot || got.Urgent != tc.want.Urgent || got.Reason != tc.want.Reason {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, tc.want)
		}
	}
	if got := table.Plan(d, night, good, nil, opens.Add(2*time.Hour)); got.At.Before(opens.Add(24 * time.Hour)) {
		t.Errorf("after a missed window the run is at %s", got.At)
	}
}

// TestFleetInWindow runs a fleet through a week of nights: each device once in each window and once more where a slot of its
// own lies in it, never outside, and not all at once.
func TestFleetInWindow(t *testing.T) {
	t.Parallel()
	const devices = 300
	night := windows(t, "01:00-03:00")
	seconds := map[int64]int{}
	for i := range devices {
		d := dev(fmt.Sprint("r", i))
		s := backup.State{V: 1, GoodStarted: epoch, Result: backup.ResultUnchanged}
		nights := map[int]int{}
		for now, end := epoch, epoch.Add(7*24*time.Hour); now.Before(end); {
			p := table.Plan(d, night, s, nil, now)
			if p.At.After(end) {
				break
			}
			if !night.Open(p.At) {
				t.Fatalf("%s runs at %s, outside the window", d.ID, p.At)
			}
			if again := table.Plan(d, night, s, nil, p.At.Add(-time.Second)); !again.At.Equal(p.At) {
				t.Fatalf("%s runs at %s, and as seen a second before at %s", d.ID, p.At, again.At)
			}
			nights[p.At.YearDay()]++
			seconds[p.At.Unix()]++
			now = p.At.Add(time.Second)
			s.GoodStarted = now
		}
		if len(nights) != 7 {
			t.Errorf("%s runs in %d of 7 nights", d.ID, len(nights))
		}
		for night, n := range nights {
			if n > 2 {
				t.Errorf("%s runs %d times in night %d", d.ID, n, night)
			}
		}
	}
	for second, n := range seconds {
		if n > 10 {
			t.Errorf("%d of %d devices start in second %d", n, devices, second)
		}
	}
}

// TestWindowOfASite opens and closes a site while a replica runs.
func TestWindowOfASite(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.putSite(device.Site{Name: "a", Windows: closedNow(t)})
	r := h.schedule()
	d, asked := newDevice("r1", "a", -time.Minute), newDevice("asked", "a", -time.Minute)
	h.put(d)
	h.put(asked)
	h.request(asked, false)
	h.awaitTask(asked, "pending")
	r.fence()
	if got := h.task(d); got != "" {
		t.Fatalf("while the window is closed the task is '%s'", got)
	}
	site, _, err := h.store.Site(h.ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	site.Windows = nil
	h.putSite(site)
	h.awaitTask(d, "pending")
}

// TestClosedOnAPendingTask has a window close before a task's turn: its worker lets it go, and the full pass plans the
// device for the opening.
func TestClosedOnAPendingTask(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.newReplica()
	d := newDevice("r1", "a", -time.Minute)
	at := time.Now()
	from := at.UTC().Add(2 * time.Hour)
	open := windows(t, at.UTC().Add(-time.Hour).Format("15:04-")+from.Format("15:04"))
	closes := at.Truncate(time.Minute).Add(2 * time.Hour)
	r.apply(backup.Change{Bucket: backup.BucketSites, Key: "a", Site: device.Site{Name: "a", Windows: open}})
	r.apply(backup.Change{Bucket: backup.BucketDevices, Key: d.Key(), Device: d})
	r.ensureDue(h.ctx, at)
	h.awaitTask(d, "pending")
	if e := r.entries[d.Key()]; e.index >= 0 {
		t.Fatal("the device is looked at again though its task is there")
	}
	if err := r.fullPass(h.ctx, closes.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	e := r.entries[d.Key()]
	if opens, _ := open.Next(closes.Add(time.Minute)); e.index < 0 || e.at.Before(opens) || e.at.After(opens.Add(windowSpread)) {
		t.Errorf("the device is looked at again at %s (%d), the window opens at %s", e.at, e.index, opens)
	}
}

// TestPausedSite pauses a site under two replicas, and empties Redis during the pause.
func TestPausedSite(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.schedule()
	h.schedule()
	h.put(newDevice("r1", "a", time.Minute))
	stands := func(want device.Limits) {
		t.Helper()
		q := h.newQueue(h.url)
		h.await(fmt.Sprintf("%+v in Redis", want), func() bool {
			got, err := q.Limits(h.ctx, []string{"a"})
			site, _, serr := h.store.Site(h.ctx, "a")
			return err == nil && serr == nil && site.Opened && len(got) == 1 && got["a"] == want
		})
	}
	amend := func(change func(*device.Site)) {
		t.Helper()
		site, _, err := h.store.Site(h.ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		change(&site)
		h.putSite(site)
	}
	stands(device.Limits{Sessions: device.Unlimited})
	amend(func(s *device.Site) { s.Limit, s.Rate, s.Paused = 4, 0.5, &device.Pause{At: time.Now(), By: "test"} })
	stands(device.Limits{Rate: 0.5})
	amend(func(s *device.Site) { s.Paused = nil })
	stands(device.Limits{Sessions: 4, Rate: 0.5})
}

// TestFlushedWhilePaused goes through the waits at chosen times: the pause comes back, and nothing else.
func TestFlushedWhilePaused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.newReplica(func(o *Options) { o.SiteLimit = 9 })
	site := device.Site{Name: "a", Limit: 3, Opened: true, Paused: &device.Pause{}}
	h.putSite(site)
	r.apply(backup.Change{Bucket: backup.BucketSites, Key: "a", Site: site})
	for _, ago := range []time.Duration{0, vanishedDelay / 2, vanishedDelay} {
		h.lostFor("a", ago)
		if _, err := r.keepLimits(h.ctx); err != nil {
			t.Fatal(err)
		}
		if limit, there := h.limit("a"); there != (ago == vanishedDelay) || limit != 0 {
			t.Errorf("%s after the flush the limit is %d, there %v", ago, limit, there)
		}
	}
}

// TestStalledReplica brings nothing back that was changed while it stood still.
func TestStalledReplica(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.newReplica()
	old := device.Site{Name: "a", Limit: 7, Opened: true}
	r.apply(backup.Change{Bucket: backup.BucketSites, Key: "a", Site: old})
	h.putSite(device.Site{Name: "a", Limit: 3, Opened: true})
	if err := r.queue.SetLimits(h.ctx, "a", device.Limits{Sessions: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.keepLimits(h.ctx); err != nil {
		t.Fatal(err)
	}
	if limit, _ := h.limit("a"); limit != 3 {
		t.Errorf("a replica that has seen the limit 7 makes 3 to %d", limit)
	}
}

// TestFullPassRepairs makes a task again whose id an orphan holds.
func TestFullPassRepairs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.schedule()
	d := newDevice("r1", "a", -time.Minute)
	h.put(d)
	h.awaitTask(d, "pending")
	r.fence()
	id := "asynq:{a}:t:" + backup.TaskID(d.ID)
	if err := h.redis.Del(h.ctx, "asynq:{a}:pending").Err(); err != nil {
		t.Fatal(err)
	}
	if err := h.redis.HSet(h.ctx, id, "state", "active").Err(); err != nil { // as a result that was lost half way leaves it
		t.Fatal(err)
	}
	other := h.newReplica()
	other.load()
	if err := other.fullPass(h.ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := h.task(d); got != "" || other.log.count("queue repaired") != 1 {
		t.Fatalf("after the full pass the task is '%s'\n%s", got, other.log)
	}
	other.ensureDue(h.ctx, time.Now())
	h.awaitTask(d, "pending")
}

// TestOverdue: who waits for a window, or at a paused site, is not late.
func TestOverdue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		site device.Site
		late bool
	}{
		"an open site":    {device.Site{Name: "a"}, true},
		"a paused site":   {device.Site{Name: "a", Paused: &device.Pause{}}, false},
		"a closed window": {device.Site{Name: "a", Windows: closedNow(t)}, false},
	} {
		s := New(Options{Timetable: table})
		d := newDevice("r1", "a", -time.Hour)
		s.apply(backup.Change{Bucket: backup.BucketSites, Key: "a", Site: tc.site})
		s.apply(backup.Change{Bucket: backup.BucketDevices, Key: d.Key(), Device: d})
		if got := s.Fleet(time.Now()).OldestOverdue; (got > 0) != tc.late {
			t.Errorf("%s: overdue by %s", name, got)
		}
	}
}

// TestFleetCounts counts stale and blocked devices and held sites at chosen times.
func TestFleetCounts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := New(Options{Timetable: table, Log: slog.New(slog.DiscardHandler)})
	add := func(id, site string, seen time.Duration, own time.Duration, state backup.State) {
		d := device.Device{ID: id, Site: site, Enabled: true, FirstSeen: now.Add(-seen), Interval: own}
		s.apply(backup.Change{Bucket: backup.BucketDevices, Key: d.Key(), Device: d})
		s.apply(backup.Change{Bucket: backup.BucketState, Key: d.Key(), State: state})
	}
	const day = 24 * time.Hour
	add("new", "a", time.Hour, 0, backup.State{})
	add("never", "a", 2*day, 0, backup.State{})
	add("fresh", "a", 9*day, 0, backup.State{GoodStarted: now.Add(-25 * time.Hour)})
	add("old", "b", 9*day, 0, backup.State{GoodStarted: now.Add(-27 * time.Hour)})
	add("weekly", "b", 9*day, 7*day, backup.State{GoodStarted: now.Add(-6 * day)})
	add("ahead", "c", 2*day, 0, backup.State{GoodStarted: now.Add(time.Hour)})
	add("keys", "c", time.Hour, 0, backup.State{Block: &backup.Block{Kind: fault.HostKey, At: now}})
	s.apply(backup.Change{Bucket: backup.BucketSites, Site: device.Site{Name: "b", Paused: &device.Pause{}}})
	f := s.Fleet(now)
	if f.Stale != 3 || len(f.Blocked) != 1 || f.Blocked[fault.HostKey] != 1 || !slices.Equal(f.Held, []string{"b"}) {
		t.Errorf("stale %d, want 3; blocked %v, want one for its host key; held %v, want b", f.Stale, f.Blocked, f.Held)
	}
}
