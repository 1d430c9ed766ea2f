package backup

import (
	"fmt"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var b Breaker
	refuse := func(n int) {
		for i := range n {
			b = b.Refuse(now, fmt.Sprint("d", i))
		}
	}
	admits := func(what string, opened, ok, trial bool) {
		t.Helper()
		if gotOK, gotTrial, at := b.Admit(now, opened); gotOK != ok || gotTrial != trial || !ok && !at.After(now) {
			t.Errorf("%s: admits %t, trial %t, at %s; want %t, %t", what, gotOK, gotTrial, at, ok, trial)
		}
	}
	admits("new", false, true, false)
	b, _ = b.Open(now, "good")
	refuse(BreakerMax - 1)
	refuse(BreakerMax - 1) // the same devices again count once
	admits("one short", false, true, false)
	if next, changed := b.Open(now, "good"); !changed || len(next.Refusals) > 0 || next.Lift != nil {
		t.Errorf("a success between: %+v", next)
	}
	refuse(BreakerMax)
	admits("paused", true, false, false)
	if !b.Paused() || b.PausedUntil != now.Add(FirstTrialDelay) || !b.Since.Equal(now) {
		t.Errorf("paused: %+v", b)
	}
	b = b.Refuse(now, "in flight")
	if b.PausedUntil != now.Add(FirstTrialDelay) || len(b.Refusals) != BreakerMax {
		t.Errorf("one that was in flight: %+v", b)
	}

	now = now.Add(FirstTrialDelay)
	admits("half open, never opened by it", false, false, false)
	admits("half open", true, true, true)
	b = b.Try("t1", now.Add(time.Minute))
	admits("another's trial", true, false, false)
	if failed := b.Fail("other"); failed.Trial == nil {
		t.Error("another's failure ends the trial")
	}
	b = b.Fail("t1")
	admits("after a trial without an answer", true, true, true)
	b = b.Try("t2", now.Add(time.Minute))
	b = b.Refuse(now, "t2")
	if b.PausedUntil != now.Add(TrialDelay) || b.Trial != nil || b.Trials != 1 {
		t.Errorf("after a refused trial: %+v", b)
	}
	now = now.Add(TrialDelay)
	b = b.Try("t3", now.Add(time.Minute))
	now = now.Add(2 * time.Minute)
	admits("after a trial whose worker died", true, true, true)
	since := b.Since
	next, changed := b.Open(now, "t3")
	if !changed || next.Paused() || next.LastOpened != "t3" {
		t.Errorf("after a trial that succeeded: %+v", next)
	}
	for at, void := range map[time.Time]bool{since: true, now: true, since.Add(-time.Minute): false, now.Add(time.Minute): false} {
		if next.Voids(Block{At: at}) != void {
			t.Errorf("block at %s void: %t", at, !void)
		}
	}
	if again, changed := next.Open(now, "x"); changed || again.LastOpened != "t3" {
		t.Error("each success writes the record")
	}

	b = Breaker{} // a version that has never opened anything is tried with any device
	refuse(BreakerMax)
	now = b.PausedUntil
	admits("never opened any", false, true, true)
}
