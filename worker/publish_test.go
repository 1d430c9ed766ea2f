package worker

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// result is what Run returned.
type result struct {
	next backup.Next
	err  error
}

// stuckAtOutcome runs a worker that never comes to write its outcome until free is called, as one whose machine froze.
func (h *house) stuckAtOutcome(name string) (ended <-chan result, free func()) {
	h.Helper()
	reached, release, out := make(chan struct{}), make(chan struct{}), make(chan result, 1)
	free = sync.OnceFunc(func() { close(release) })
	h.Cleanup(free)
	w := h.worker(name, h.atOutcome(func() { close(reached); <-release }))
	ctx, task := h.within(), h.due()
	go func() {
		next, err := w.Run(ctx, testSite, task)
		out <- result{next, err}
	}()
	select {
	case <-reached:
	case <-ctx.Done():
		h.Fatal("the worker comes to no outcome")
	}
	return out, free
}

// expireMark lets the time pass after which a running mark no longer counts.
func (h *house) expireMark() {
	h.Helper()
	h.amend(func(s *backup.State) { s.Running.Until = time.Now().Add(-time.Second) })
}

// TestKilledBeforeOutcome: the next attempt finds the snapshot on the stream, and the late outcome of the first is discarded.
func TestKilledBeforeOutcome(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ended, free := h.stuckAtOutcome("first")
	h.wantSnapshots(1)
	h.expireMark()

	h.wantRun(h.worker("second"), done, "")
	snap := h.wantSnapshots(1)[0]
	s, revision := h.state()
	if s.SnapshotSeq != 1 || s.Digest != snap.SHA256Hash || s.Running != nil || s.Lost != 0 || s.Worker != "second" || s.Result != backup.ResultChanged {
		t.Errorf("state %+v", s)
	}
	free()
	first := <-ended
	h.wantNext(first.next, nil, busy, "")
	if !errors.Is(first.err, backup.ErrConflict) {
		t.Errorf("the late outcome: %v", first.err)
	}
	if _, now := h.state(); now != revision {
		t.Error("the late outcome was written")
	}
}

// TestKilledThenChangedBack: the lost attempt published B; when the router is back at A, A must be the newest snapshot.
func TestKilledThenChangedBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	h.router.Change()
	ended, free := h.stuckAtOutcome("lost")
	h.wantSnapshots(2)
	h.expireMark()
	h.router.Revert()
	h.wantRun(w, done, "")
	free()
	<-ended
	snaps := h.wantSnapshots(3)
	if s, _ := h.state(); s.SnapshotSeq != 3 || s.Digest != snaps[2].SHA256Hash || s.Result != backup.ResultChanged || snaps[2].SHA256Hash != snaps[0].SHA256Hash {
		t.Errorf("state %+v", s)
	}
}

// TestKilledWithNothingNew: a lost attempt that published nothing leads to no snapshot that is there already.
func TestKilledWithNothingNew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	ended, free := h.stuckAtOutcome("lost")
	h.expireMark()
	h.wantRun(w, done, "")
	free()
	<-ended
	h.wantSnapshots(1)
	if s, _ := h.state(); s.SnapshotSeq != 1 || s.Lost != 0 || s.Result != backup.ResultUnchanged {
		t.Errorf("state %+v", s)
	}
}

// TestNATSOutage: the snapshot is held in hand while NATS is away, and the router is dialled once.
func TestNATSOutage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tries := 0
	h.wantRun(h.worker("w1", h.tapStream(func(_ context.Context, write func() (uint64, error)) (uint64, error) {
		switch tries++; tries {
		case 1:
			if err := h.nats.Stop(); err != nil {
				t.Error(err)
			}
		case 3:
			h.restartNATS()
		}
		seq, err := write()
		if err != nil && fault.KindOf(err) != fault.Infrastructure {
			t.Errorf("try %d: %v", tries, err)
		}
		return seq, err
	})), done, "")
	if tries < 3 {
		t.Errorf("%d tries: there was no outage", tries)
	}
	h.wantDials(1)
	snap := h.wantSnapshots(1)[0]
	if s, _ := h.state(); s.SnapshotSeq != 1 || s.Digest != snap.SHA256Hash || s.Running != nil {
		t.Errorf("state %+v", s)
	}
}

// restartNATS starts the stopped server again at the same address.
func (h *house) restartNATS() {
	h.Helper()
	u, err := url.Parse(h.nats.URL().Reveal())
	if err != nil {
		h.Fatal("the address of NATS is no URL")
	}
	if h.natsOptions.Port, err = strconv.Atoi(u.Port()); err != nil {
		h.Fatal(err)
	}
	h.startNATS()
}

// TestPublishNeverAnswered: a publish that takes all the time there is says nothing against the device.
func TestPublishNeverAnswered(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]func(context.Context, func() (uint64, error)) (uint64, error){
		"silent": func(ctx context.Context, write func() (uint64, error)) (uint64, error) {
			<-ctx.Done()
			return write()
		},
		"away": func(context.Context, func() (uint64, error)) (uint64, error) { return 0, errDown },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			w := h.worker("w1", h.tapStream(publish), func(o *Options) { o.Whole = 3 * time.Second })
			h.wantRun(w, back, fault.Infrastructure)
			if s, _ := h.state(); s.Running != nil || s.Failures != 0 || s.Result != "" || s.Kind != fault.Infrastructure || s.NextAt.IsZero() {
				t.Errorf("state %+v", s)
			}
			h.wantDials(1)
			h.wantEvents()
			h.ask(false)
			h.wantRun(h.worker("w2"), done, "")
			h.wantSnapshots(1)
		})
	}
}

// TestAckLostThenChangedBack: B went to the stream but its ack never came back; when the router is back at A, A must be the
// newest snapshot.
func TestAckLostThenChangedBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	h.router.Change()
	ctx, cancel := context.WithCancelCause(h.within())
	next, err := h.worker("w2", h.tapStream(func(_ context.Context, write func() (uint64, error)) (uint64, error) {
		_, err := write()
		cancel(errDown)
		return 0, errors.Join(errDown, err)
	})).Run(ctx, testSite, h.due())
	h.wantNext(next, err, back, fault.Infrastructure)
	h.wantSnapshots(2)
	h.router.Revert()
	h.ask(false)
	h.wantRun(w, done, "")
	snaps := h.wantSnapshots(3)
	if snaps[2].SHA256Hash != snaps[0].SHA256Hash {
		t.Error("the history is not A, B, A")
	}
	h.wantRun(w, done, "")
	h.wantSnapshots(3)
	h.wantEvents(backup.EventUnchanged)
}

// TestOutcomeWrittenAtLast: a store that is away for a moment costs no second dial.
func TestOutcomeWrittenAtLast(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	refusals := 0
	w := h.worker("w1", h.tapStore(func(s backup.State, write func() (uint64, error)) (uint64, error) {
		if s.Running == nil && refusals < 2 {
			refusals++
			return 0, errDown
		}
		return write()
	}))
	h.wantRun(w, done, "")
	if s, _ := h.state(); refusals != 2 || s.Running != nil || s.SnapshotSeq != 1 {
		t.Errorf("%d refusals, state %+v", refusals, s)
	}
	h.wantDials(1)
}

// TestLostEventUndoesNothing: an unchanged export is proven whether or not its event is taken.
func TestLostEventUndoesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.wantRun(h.worker("w1"), done, "")
	before, _ := h.state()
	h.wantRun(h.worker("w2", func(o *Options) { o.Publisher = noEvents{o.Publisher} }), done, "")
	after, _ := h.state()
	if after.Result != backup.ResultUnchanged || !after.GoodStarted.After(before.GoodStarted) {
		t.Errorf("state %+v", after)
	}
	h.wantEvents()
	h.wantSnapshots(1)
}
