package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// errMarkLost ends a session whose running mark another process has taken or removed.
var errMarkLost = fault.New(fault.Infrastructure, "hold running mark", "the device's state no longer shows this session as running")

func newAttempt() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails on the platforms we build for
	return hex.EncodeToString(b[:])
}

// countLost notices that the last session ended without an outcome: its worker died or its lease was lost. The third in a
// row counts as a failure of the device, so that a router that kills workers does not do so for ever.
func (r *run) countLost(ctx context.Context) (*backup.Next, error) {
	if r.state.Running == nil {
		return nil, nil
	}
	r.state.Lost++
	r.state.SnapshotSeq = 0 // it may have published: what is the last snapshot now is for the stream to say
	r.log.Warn("the last session ended without an outcome", "worker", r.state.Running.Worker, "in_a_row", r.state.Lost)
	if r.state.Lost < lostLeasesMax {
		return nil, nil
	}
	r.state.Lost, r.state.Running = 0, nil
	r.began = r.revision // the lost session's: who asked before it is answered too
	next, err := r.conclude(ctx, backup.Export{}, 0, fault.New(fault.Internal, "hold session",
		"%d sessions in a row ended without an outcome: their workers were killed or lost Redis", lostLeasesMax))
	return &next, err
}

// mark writes the running mark before anything reaches the router.
func (r *run) mark(ctx context.Context) error {
	now := time.Now()
	if r.state.Block != nil && Lifted(r.state, now, r.cred.Version) {
		r.state.LiftedAt, r.state.Refused = now, r.state.Block.CredentialVersion // whether it holds shows in a moment
	}
	r.state.V = backup.StateVersion
	r.state.Running = &backup.Running{Attempt: r.attempt, Worker: r.o.Name, Started: now, Until: now.Add(MarkTTL), Dialled: true}
	r.state.LastDial = now
	revision, err := r.o.Store.PutState(ctx, r.key, r.state, r.revision)
	if err != nil {
		return fmt.Errorf("set running mark: %w", err)
	}
	r.revision, r.began = revision, revision
	return nil
}

// keepMark renews the mark until stop is called, which waits for the renewal to end. The context ends when the mark is
// lost: from then on another worker may dial.
func (r *run) keepMark(ctx context.Context) (held context.Context, stop func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(MarkInterval)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
				if err := r.renew(held); err != nil {
					cancel(err)
					return
				}
			}
		}
	}()
	return held, func() { cancel(nil); <-done }
}

// renew moves the mark's end. A store that does not answer is no reason to end the session before the mark ends by itself,
// and none at all once the router is let go: then only another's mark is.
func (r *run) renew(ctx context.Context) error {
	until := r.state.Running.Until
	next := r.state
	mark := *r.state.Running
	mark.Until = time.Now().Add(MarkTTL)
	next.Running = &mark
	err := r.put(ctx, next)
	switch {
	case err == nil, ctx.Err() != nil:
		return nil
	case errors.Is(err, backup.ErrConflict), time.Until(until) < MarkInterval && !r.fetched.Load():
		return errMarkLost
	}
	r.log.Warn("running mark not renewed", "err", err)
	return nil
}

// put writes a state while the mark is ours. When the record changed under us but still shows our mark (somebody lifted a
// block), it is written over, and the block stays lifted unless s brings one of its own; any other change is a conflict.
func (r *run) put(ctx context.Context, s backup.State) error {
	for range 3 {
		revision, err := r.o.Store.PutState(ctx, r.key, s, r.revision)
		if err == nil {
			r.state, r.revision = s, revision
			return nil
		}
		if !errors.Is(err, backup.ErrConflict) {
			return err
		}
		seen, revision, err := r.o.Store.State(ctx, r.key)
		if err != nil {
			return err
		}
		if seen.Running == nil || seen.Running.Attempt != r.attempt {
			return backup.ErrConflict
		}
		if seen.Block == nil && s.Block == r.state.Block {
			s.Block = nil
		}
		r.revision = revision
	}
	return backup.ErrConflict
}
