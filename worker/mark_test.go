package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// otherMark is the running mark of another worker until the given moment.
func otherMark(until time.Time) *backup.Running {
	return &backup.Running{Attempt: "other", Worker: "elsewhere", Started: until.Add(-MarkTTL), Until: until, Dialled: true}
}

// TestMarkTaken: when another worker took the mark before our outcome, ours is discarded.
func TestMarkTaken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", h.atOutcome(func() {
		h.amend(func(s *backup.State) { s.Running = otherMark(time.Now().Add(time.Minute)) })
	}))
	next, err := h.run(w)
	h.wantNext(next, nil, busy, "")
	if !errors.Is(err, backup.ErrConflict) {
		t.Errorf("error %v", err)
	}
	if s, _ := h.state(); s.Running == nil || s.Running.Attempt != "other" || s.Result != "" || !s.GoodStarted.IsZero() {
		t.Errorf("state %+v", s)
	}
	h.wantEvents()
}

// TestMarkSetMeanwhile: of two workers that see a free device, the one whose mark comes second does not dial.
func TestMarkSetMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	marks := 0
	w := h.worker("w1", h.tapStore(func(s backup.State, write func() (uint64, error)) (uint64, error) {
		if marks++; marks == 1 {
			h.amend(func(s *backup.State) { s.Running = otherMark(time.Now().Add(time.Minute)) })
		}
		return write()
	}))
	next, err := h.run(w)
	h.wantNext(next, nil, busy, "")
	if !errors.Is(err, backup.ErrConflict) {
		t.Errorf("error %v", err)
	}
	h.wantDials(0)
}

// TestMarkNotWritten: without a mark there is no dial.
func TestMarkNotWritten(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", h.tapStore(func(backup.State, func() (uint64, error)) (uint64, error) { return 0, errDown }))
	h.wantRun(w, back, fault.Infrastructure)
	h.wantDials(0)
}

// TestBlockLiftedMeanwhile: somebody who lifts a block during a forced attempt neither costs its outcome nor is overruled.
func TestBlockLiftedMeanwhile(t *testing.T) {
	t.Parallel()
	for f, want := range map[routersim.Fault]struct {
		next backup.Next
		kind fault.Kind
	}{
		routersim.NoFault: {done, ""},
		routersim.Refused: {again(1), fault.Unreachable},
	} {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.amend(func(s *backup.State) {
				s.Block = &backup.Block{Kind: fault.HostKey, Reason: "key differs", At: time.Now()}
			})
			h.setFault(f)
			h.ask(true)
			w := h.worker("w1", h.atOutcome(func() { h.amend(func(s *backup.State) { s.Block = nil }) }))
			h.wantRun(w, want.next, want.kind)
			if s, _ := h.state(); s.Running != nil || s.Block != nil || s.Kind != want.kind || s.AttemptRevision == 0 {
				t.Errorf("state %+v", s)
			}
		})
	}
}

// TestBlockedMeanwhile: a block that comes with the outcome is written over whatever was lifted.
func TestBlockedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setFault(routersim.WrongPassword)
	h.wantRun(h.worker("w1"), stop, fault.Auth)
	first, _ := h.state()
	h.ask(true)
	w := h.worker("w1", h.atOutcome(func() { h.amend(func(s *backup.State) { s.Block = nil }) }))
	h.wantRun(w, stop, fault.Auth)
	if s, _ := h.state(); s.Block == nil || !s.Block.At.After(first.Block.At) {
		t.Errorf("block %+v, the one before %+v", s.Block, first.Block)
	}
}

func TestLiveMark(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.amend(func(s *backup.State) { s.Running = otherMark(time.Now().Add(time.Minute)) })
	_, before := h.state()
	h.ask(true)
	next, _ := h.run(h.worker("w1"))
	if next != busy {
		t.Errorf("next %+v", next)
	}
	h.wantDials(0)
	if _, after := h.state(); after != before {
		t.Error("the state was written")
	}
}

// TestLostSessions: a session without an outcome is counted, the third in a row is a failure without a dial, and any
// outcome ends the row.
func TestLostSessions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	marked := -1 // lost ones, as the running mark's record says
	w := h.worker("w1", h.tapStore(func(s backup.State, write func() (uint64, error)) (uint64, error) {
		if s.Running != nil {
			marked = s.Lost
		}
		return write()
	}))
	lose := func() {
		t.Helper()
		h.amend(func(s *backup.State) { s.Running = otherMark(time.Now()) })
	}
	lose()
	h.wantRun(w, done, "")
	if s, _ := h.state(); marked != 1 || s.Lost != 0 {
		t.Errorf("%d lost during the session and %d after it, want 1 and 0", marked, s.Lost)
	}
	h.wantDials(1)

	h.amend(func(s *backup.State) { s.Lost = 1 })
	lose()
	h.setFault(routersim.CutMidExport)
	h.wantRun(w, again(1), fault.Incomplete)
	if s, _ := h.state(); marked != 2 || s.Lost != 0 {
		t.Errorf("%d lost during the session and %d after its failure, want 2 and 0", marked, s.Lost)
	}
	h.wantDials(2)

	h.amend(func(s *backup.State) { s.Lost, s.NextAt = 2, time.Time{} })
	lose()
	h.wantRun(w, again(2), fault.Internal)
	h.wantDials(2)
	s, _ := h.state()
	if s.Lost != 0 || s.Failures != 2 || s.Running != nil || s.Kind != fault.Internal || time.Until(s.NextAt) < 13*time.Minute {
		t.Errorf("state %+v", s)
	}
	h.wantEvents(backup.EventFailed, backup.EventFailed)
}

// TestRenew: the mark moves on, keeps what others changed, and is lost when it is no longer ours.
func TestRenew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.amend(func(s *backup.State) { s.Block = &backup.Block{Kind: fault.HostKey, At: time.Now()} })
	w := h.worker("w1")
	r := &run{Worker: w, log: w.o.Log, key: h.key, attempt: newAttempt()}
	r.state, r.revision = h.state()
	ctx := h.within()
	if err := r.mark(ctx); err != nil {
		t.Fatal(err)
	}
	first, _ := h.state()
	h.amend(func(s *backup.State) { s.Block = nil })
	if err := r.renew(ctx); err != nil {
		t.Fatal(err)
	}
	if s, _ := h.state(); !s.Running.Until.After(first.Running.Until) || s.Running.Attempt != r.attempt || s.Block != nil {
		t.Errorf("state %+v", s)
	}
	h.amend(func(s *backup.State) { s.Running = otherMark(time.Now().Add(time.Minute)) })
	if err := r.renew(ctx); !errors.Is(err, errMarkLost) {
		t.Errorf("renewed another's mark: %v", err)
	}
}

// TestRenewWithoutStore: a store that is away ends the session only when the mark is about to end by itself.
func TestRenewWithoutStore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", h.tapStore(func(s backup.State, write func() (uint64, error)) (uint64, error) { return 0, errDown }))
	r := &run{Worker: w, log: w.o.Log, key: h.key, attempt: newAttempt()}
	for left, want := range map[time.Duration]error{MarkTTL: nil, MarkInterval / 2: errMarkLost} {
		r.state.Running = &backup.Running{Attempt: r.attempt, Until: time.Now().Add(left)}
		if err := r.renew(context.WithoutCancel(t.Context())); !errors.Is(err, want) {
			t.Errorf("%s before its end: %v, want %v", left, err, want)
		}
	}
	r.fetched.Store(true)
	r.state.Running.Until = time.Now().Add(-time.Minute)
	if err := r.renew(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("with the router let go: %v", err)
	}
}

// TestOutlive: the time for an outcome ends when both the attempt's and the extra time are over.
func TestOutlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct{ attempt, extra, want time.Duration }{
			{time.Second, 15 * time.Second, 15 * time.Second},
			{time.Minute, 15 * time.Second, time.Minute},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), tc.attempt)
			out, end := outlive(ctx, tc.extra)
			started := time.Now()
			<-out.Done()
			if got := time.Since(started); got != tc.want || fault.KindOf(context.Cause(out)) != fault.Timeout {
				t.Errorf("attempt %s, extra %s: ended after %s by %v", tc.attempt, tc.extra, got, context.Cause(out))
			}
			end()
			cancel()
		}
	})
}
