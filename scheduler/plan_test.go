package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

var (
	table = Timetable{Interval: 6 * time.Hour, JitterMin: 30 * time.Second, JitterMax: 5 * time.Minute, RedialDelay: 5 * time.Minute}
	epoch = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

func dev(id string) device.Device {
	return device.Device{ID: id, Site: "a", Enabled: true, FirstSeen: epoch}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	d := dev("r1")
	first := table.first(d)
	done := backup.State{V: 1, GoodStarted: first.Add(time.Second), Result: backup.ResultChanged}
	next := table.slot(d, done, first.Add(time.Minute))
	if wait := next.Sub(first); wait <= 0 || wait > table.Interval {
		t.Fatalf("the slot after the first is %s away", wait)
	}
	disabled := d
	disabled.Enabled = false
	with := func(change func(*backup.State)) backup.State {
		s := done
		change(&s)
		return s
	}
	now := next.Add(-time.Minute)
	request := &backup.Request{Since: 7}
	forced := &backup.Request{Since: 7, Force: true}
	block := &backup.Block{Kind: fault.Auth}
	for _, tc := range []struct {
		name    string
		d       device.Device
		s       backup.State
		request *backup.Request
		now     time.Time
		want    Plan
	}{
		{"a new device waits for its first slot", d, backup.State{}, nil, epoch, Plan{first, first.Unix(), false, backup.ReasonSlot}},
		{"a disabled device has none", disabled, backup.State{}, nil, epoch, Plan{}},
		{"after a backup comes the next slot", d, done, nil, now, Plan{next, next.Unix(), false, backup.ReasonSlot}},
		{"a failure waits for its step", d, backup.State{V: 1, Failures: 1, NextAt: first.Add(15 * time.Minute)}, nil, first.Add(time.Minute),
			Plan{first.Add(15 * time.Minute), first.Unix(), false, backup.ReasonSlot}},
		{"no automatic dial soon after the last", d, backup.State{V: 1, LastDial: first}, nil, first.Add(time.Minute),
			Plan{first.Add(5 * time.Minute), first.Unix(), false, backup.ReasonSlot}},
		{"a given-up slot waits for the next one", d, backup.State{V: 1, SettledAt: first.Add(time.Second), Kind: fault.Rejected}, nil, now,
			Plan{next, next.Unix(), false, backup.ReasonSlot}},
		{"a blocked device has none", d, with(func(s *backup.State) { s.Block = block }), nil, next.Add(time.Hour), Plan{}},
		{"a request is for now", d, done, request, now, Plan{now, next.Unix(), true, backup.ReasonRequest}},
		{"a served request is over", d, with(func(s *backup.State) { s.AttemptRevision = 8 }), request, now, Plan{next, next.Unix(), false, backup.ReasonSlot}},
		{"a request does not pass a block", d, with(func(s *backup.State) { s.Block = block }), request, now, Plan{}},
		{"a forced one does", d, with(func(s *backup.State) { s.Block = block }), forced, now, Plan{now, next.Unix(), true, backup.ReasonRequest}},
		{"a request does not wait for the ladder", d, with(func(s *backup.State) { s.NextAt = now.Add(time.Hour); s.LastDial = now }), request, now,
			Plan{now, next.Unix(), true, backup.ReasonRequest}},
		{"a request that a fault of ours put back waits", d, with(func(s *backup.State) { s.NextAt = now.Add(30 * time.Second); s.PutBack = 9 }), request, now,
			Plan{now.Add(30 * time.Second), next.Unix(), true, backup.ReasonRequest}},
		{"one made after that does not", d, with(func(s *backup.State) { s.NextAt = now.Add(30 * time.Second); s.PutBack = 7 }), request, now,
			Plan{now, next.Unix(), true, backup.ReasonRequest}},
		{"a request waits for an open session", d, with(func(s *backup.State) { s.Running = &backup.Running{Until: now.Add(time.Minute)} }), request, now,
			Plan{now.Add(time.Minute), next.Unix(), true, backup.ReasonRequest}},
		{"an expired mark is no session", d, with(func(s *backup.State) { s.Running = &backup.Running{Until: now.Add(-time.Second)} }), nil, now,
			Plan{next, next.Unix(), false, backup.ReasonSlot}},
	} {
		if got := table.Plan(tc.d, nil, tc.s, tc.request, tc.now); !got.At.Equal(tc.want.At) || got.Slot != tc.want.Slot || got.Urgent != tc.want.Urgent || got.Reason != tc.want.Reason {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

// TestBacklogIsSpread has a fleet overdue by hours: its runs begin within the window and not all at once.
func TestBacklogIsSpread(t *testing.T) {
	t.Parallel()
	now := epoch.Add(48 * time.Hour)
	seconds := map[int64]int{}
	for i := range 1000 {
		p := table.Plan(dev(fmt.Sprint("r", i)), nil, backup.State{V: 1, GoodStarted: epoch}, nil, now)
		if wait := p.At.Sub(now); wait > table.Lookahead() && p.Slot <= now.Unix() {
			t.Fatalf("an overdue device waits %s", wait)
		}
		seconds[p.At.Unix()]++
	}
	for s, n := range seconds {
		if n > 40 {
			t.Errorf("%d of 1000 start in second %d", n, s-now.Unix())
		}
	}
}

// TestSlotsAreEvenlySpread counts 100,000 devices over the hours of an interval.
func TestSlotsAreEvenlySpread(t *testing.T) {
	t.Parallel()
	hours := map[int64]int{}
	for i := range 100_000 {
		s := table.slot(dev(fmt.Sprintf("router-%05d", i)), backup.State{GoodStarted: epoch.Add(-time.Second)}, epoch)
		hours[(s.Unix()-epoch.Unix())/3600]++
	}
	for h, n := range hours {
		if n < 15_500 || n > 18_000 {
			t.Errorf("hour %d has %d of 100,000 devices", h, n)
		}
	}
}

// TestChangedInterval runs a fleet through 6 h, 12 h and 1 h: no slot of the interval in force is skipped, none is run
// twice.
func TestChangedInterval(t *testing.T) {
	t.Parallel()
	for i := range 200 {
		d := dev(fmt.Sprint("r", i))
		s := backup.State{V: 1, GoodStarted: epoch, Result: backup.ResultUnchanged}
		now := epoch
		var last time.Time
		for _, phase := range []struct{ interval, length time.Duration }{{6 * time.Hour, 30 * time.Hour}, {12 * time.Hour, 36 * time.Hour}, {time.Hour, 10 * time.Hour}} {
			tt := table
			tt.Interval = phase.interval
			for end := now.Add(phase.length); ; {
				p := tt.Plan(d, nil, s, nil, now)
				if p.At.After(end) {
					now = end
					break
				}
				if !last.IsZero() && p.At.Sub(last) < time.Minute {
					t.Fatalf("%s runs at %s and again at %s", d.ID, last, p.At)
				}
				if !last.IsZero() && p.At.Sub(last) > 12*time.Hour+tt.Lookahead() {
					t.Fatalf("%s runs at %s and not before %s", d.ID, last, p.At)
				}
				last, now = p.At, p.At
				s.GoodStarted = p.At.Add(time.Second)
			}
		}
	}
}

// TestReplicasAgree plans at random moments within a slot: all replicas come to the same slot and time.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	d := dev("r1")
	s := backup.State{V: 1, GoodStarted: epoch}
	want := table.Plan(d, nil, s, nil, epoch)
	for at := epoch; at.Before(want.At); at = at.Add(7 * time.Minute) {
		if got := table.Plan(d, nil, s, nil, at); got != want {
			t.Fatalf("at %s: %+v, want %+v", at, got, want)
		}
	}
}

// TestForgottenRequest: the store drops a request after a day without a word, and so does a replica that has it in memory.
func TestForgottenRequest(t *testing.T) {
	t.Parallel()
	s := New(Options{Timetable: table})
	e := &entry{known: true, device: dev("r1"), state: backup.State{V: 1, GoodStarted: epoch}, request: &backup.Request{Since: 7, At: epoch}}
	if p := s.planOf(e, epoch.Add(requestTTL)); p.Reason != backup.ReasonRequest {
		t.Errorf("within its time: %+v", p)
	}
	if p := s.planOf(e, epoch.Add(requestTTL+time.Second)); p.Reason != backup.ReasonSlot {
		t.Errorf("after it: %+v", p)
	}
}
