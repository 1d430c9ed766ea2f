package worker

import (
	"context"
	"errors"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// conclude writes the outcome and says what follows. Only a written outcome finishes the task.
func (r *run) conclude(ctx context.Context, e backup.Export, seq uint64, err error) (backup.Next, error) {
	ctx, cancel := outlive(ctx, outcomeTimeout)
	defer cancel()
	kind := fault.KindOf(err)
	var (
		s    backup.State
		next = backup.Next{Action: backup.Done}
	)
	r.teach(ctx, e, kind)
	switch {
	case err == nil:
		s = r.good(e, seq)
	case kind == fault.Infrastructure:
		s, next = r.putBack(e, err)
	default:
		s, next = r.bad(e, kind, err)
		r.keepSuspect(ctx, e.Raw, s) // before the outcome, so that who hears of that can read this
	}
	if e.Release != nil { // the collector has its say
		s.FileLeft = e.FileLeft
	}
	if werr := r.writeOutcome(ctx, s); werr != nil {
		r.log.Error("outcome not written: it is discarded", "err", werr, "result", s.Result)
		return backup.Next{Action: backup.Again, Delay: backup.BusyDelay}, werr
	}
	r.tell(ctx, kind, err)
	return next, err
}

// outlive is a context that ends when ctx has ended and d has passed.
func outlive(ctx context.Context, d time.Duration) (context.Context, func()) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	late := fault.New(fault.Timeout, "write outcome", "not written by the attempt's end, nor within %s", d)
	wait := time.AfterFunc(d, func() { context.AfterFunc(ctx, func() { cancel(late) }) })
	return out, func() {
		wait.Stop()
		cancel(nil)
	}
}

// writeOutcome tries until the deadline, except where the device's mark is no longer ours.
func (r *run) writeOutcome(ctx context.Context, s backup.State) error {
	for {
		err := r.put(ctx, s)
		if err == nil || errors.Is(err, backup.ErrConflict) {
			return err
		}
		if !pause(ctx, publishRetryDelay) {
			return err
		}
	}
}

// ended is the state after the attempt, before its result.
func (r *run) ended() backup.State {
	s := r.state
	s.V = backup.StateVersion
	s.Attempt, s.Worker = r.attempt, r.o.Name
	if r.began != 0 {
		s.AttemptRevision = r.began
	}
	s.AttemptStarted, s.AttemptEnded = time.Time{}, time.Now()
	if s.Running != nil {
		s.AttemptStarted = s.Running.Started
	}
	s.Running = nil
	s.Lost = 0
	s.Kind, s.Reason = "", ""
	return s
}

func (r *run) good(e backup.Export, seq uint64) backup.State {
	s := r.ended()
	s.Result = backup.ResultUnchanged
	if r.changed(e) && seq != r.listed {
		s.Result = backup.ResultChanged
	}
	s.GoodStarted, s.GoodAt = e.Started, s.AttemptEnded
	s.Digest, s.Normalization, s.SnapshotSeq = e.Digest, e.Normalization, seq
	s.Version, s.Identity, s.Bytes = e.Version, e.Identity, len(e.Raw)
	s.KnownGaps, s.SeenGaps = e.KnownGaps, e.SeenGaps
	s.OpenedBy = r.cred.Version
	s.NoSecrets = (s.NoSecrets || r.bare) && e.Secrets == 0
	s.Proof, s.Secrets, s.Legacy = e.Proof, e.Secrets, e.Legacy
	s.Failures, s.NextAt, s.Block, s.Refused = 0, time.Time{}, nil, ""
	return s
}

// putBack is a fault of ours: nothing of it stands against the device, and who asked for the backup still waits for it.
func (r *run) putBack(e backup.Export, err error) (backup.State, backup.Next) {
	s := r.state
	s.Running, s.PutBack, s.Lost = nil, r.began, 0
	s.Kind, s.Reason = fault.Infrastructure, err.Error()
	if e.Digest != "" && r.changed(e) {
		s.SnapshotSeq = 0 // the snapshot may be on the stream all the same
	}
	next := r.o.Ladder.Next(fault.Infrastructure, 0)
	next.Delay = max(next.Delay, time.Until(s.LastDial.Add(r.o.RedialDelay))) // also for a request: this dial is ours, not its maker's
	s.NextAt = time.Now().Add(next.Delay)
	return s, next
}

func (r *run) bad(e backup.Export, kind fault.Kind, err error) (backup.State, backup.Next) {
	s := r.ended()
	s.Result, s.Kind, s.Reason = backup.ResultFailed, kind, err.Error()
	if e.Version != "" {
		s.Version = e.Version
	}
	if e.SeenGaps != nil {
		s.SeenGaps = e.SeenGaps
	}
	if !e.Started.IsZero() {
		s.Block, s.Refused = nil, "" // the router took host key and login
	}
	next := r.o.Ladder.Next(kind, s.Failures+1)
	if next.Counted {
		s.Failures++
	}
	switch next.Action {
	case backup.Stop:
		s.Result = backup.ResultBlocked
		s.Block = &backup.Block{Kind: kind, Reason: s.Reason, At: s.AttemptEnded, CredentialVersion: r.cred.Version}
		if kind == fault.HostKey {
			s.Block.HostKey = e.HostKey
		}
	case backup.Again:
		s.NextAt = latest(s.AttemptEnded.Add(backup.Spread(next.Delay, r.dev.ID+r.attempt)), s.LastDial.Add(r.o.RedialDelay))
		next.Delay = time.Until(s.NextAt)
	case backup.Done:
		s.SettledAt = s.AttemptEnded
	}
	return s, next
}

// tell logs, counts and publishes the outcome. An event that is lost is not a backup that is lost.
func (r *run) tell(ctx context.Context, kind fault.Kind, err error) {
	result := r.state.Result
	if err != nil && kind == fault.Infrastructure {
		result = backup.ResultFailed
	}
	r.o.Meter.BackupDone(r.site, result, kind)
	switch {
	case err == nil:
		r.log.Info("backup done", "result", result, "digest", r.state.Digest, "took", r.state.AttemptEnded.Sub(r.state.AttemptStarted).Round(time.Millisecond))
		return
	case kind == fault.Infrastructure:
		r.log.Warn("backup put back", "err", err)
		return
	case kind == fault.Internal:
		r.log.Error("backup failed by a fault of confhaul: please report it", "kind", kind, "err", err)
	default:
		r.log.Warn("backup failed", "kind", kind, "err", err, "failures", r.state.Failures)
	}
	event := r.event(backup.EventFailed)
	if result == backup.ResultBlocked {
		event.Type = backup.EventBlocked
	}
	event.Kind, event.Reason, event.Failures, event.NextAt = kind, err.Error(), r.state.Failures, r.state.NextAt
	if perr := r.o.Publisher.PublishEvent(ctx, event); perr != nil {
		r.log.Warn("event not published", "err", perr)
	}
}

// keepSuspect keeps what the router printed for people to look at. Without it they have the reason still.
func (r *run) keepSuspect(ctx context.Context, text []byte, s backup.State) {
	if len(text) == 0 {
		return
	}
	err := r.o.Publisher.PublishSuspect(ctx, backup.Suspect{
		DeviceID: r.dev.ID, Site: r.dev.Site, At: s.AttemptEnded.UTC(), Attempt: r.attempt, Kind: s.Kind, Reason: s.Reason,
	}, text)
	if err != nil {
		r.log.Warn("the text that was not proven is not kept", "err", err)
	}
}
