package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// admit asks the credential's breaker. Where this is the one login that a pause allows, it is on record before it is made.
func (r *run) admit(ctx context.Context) (*backup.Next, error) {
	if r.forced {
		return nil, nil
	}
	b, revision, err := r.o.Store.Breaker(ctx, r.cred.Version)
	if err != nil {
		return r.notDialled(err)
	}
	now := time.Now()
	ok, trial, at := b.Admit(now, r.state.OpenedBy == r.cred.Version)
	if !ok {
		why := fault.New(fault.Auth, "credential", "%s is paused since %d devices in a row refused it, the first at %s: correct it, or wait for a trial login "+
			"at %s; nothing was dialled", r.cred.Name, len(b.Refusals), b.Since.UTC().Format(time.RFC3339), b.PausedUntil.UTC().Format(time.RFC3339))
		delay := backup.Spread(min(at.Sub(now), backup.PausedLookDelay), r.key)
		return &backup.Next{Action: backup.Again, Delay: delay}, r.explain(ctx, fault.Auth, why)
	}
	if !trial {
		return nil, nil
	}
	b.Credential = r.cred.Name
	_, err = r.o.Store.PutBreaker(ctx, r.cred.Version, b.Try(r.key, now.Add(r.o.Whole+MarkTTL)), revision)
	if errors.Is(err, backup.ErrConflict) { // another device makes it
		return &backup.Next{Action: backup.Again, Delay: backup.PausedLookDelay}, err
	}
	if err != nil {
		return r.notDialled(err)
	}
	r.trial = true
	r.log.Info("trial login of a paused credential", "credential", r.cred.Name)
	return nil, nil
}

// explain writes why a device is not dialled into its state, once, for whoever asks for its status.
func (r *run) explain(ctx context.Context, kind fault.Kind, why error) error {
	if r.state.Reason == why.Error() {
		return why
	}
	s := r.state
	s.V, s.Kind, s.Reason = backup.StateVersion, kind, why.Error()
	if _, err := r.o.Store.PutState(ctx, r.key, s, r.revision); err != nil && !errors.Is(err, backup.ErrConflict) {
		return fmt.Errorf("%w (and its reason is not written: %w)", why, err)
	}
	return why
}

// teach tells the credential's breaker how the login went. What it does not hear it hears from the next device.
func (r *run) teach(ctx context.Context, e backup.Export, kind fault.Kind) {
	var err error
	switch {
	case kind == fault.Auth:
		err = r.amendBreaker(ctx, func(b backup.Breaker, now time.Time) (backup.Breaker, bool) { return b.Refuse(now, r.key), true })
	case !e.Started.IsZero(): // the router took the login
		err = r.amendBreaker(ctx, func(b backup.Breaker, now time.Time) (backup.Breaker, bool) { return b.Open(now, r.key) })
	case r.trial:
		err = r.amendBreaker(ctx, func(b backup.Breaker, _ time.Time) (backup.Breaker, bool) { return b.Fail(r.key), true })
	}
	if err != nil {
		r.log.Warn("credential's record not written", "credential", r.cred.Name, "err", err)
	}
}

// amendBreaker changes the record by compare-and-set.
func (r *run) amendBreaker(ctx context.Context, change func(backup.Breaker, time.Time) (backup.Breaker, bool)) error {
	for {
		b, revision, err := r.o.Store.Breaker(ctx, r.cred.Version)
		if err != nil {
			return err
		}
		next, changed := change(b, time.Now())
		if !changed {
			return nil
		}
		next.Credential = r.cred.Name
		_, err = r.o.Store.PutBreaker(ctx, r.cred.Version, next, revision)
		if err == nil {
			if next.Paused() && !b.Paused() {
				r.log.Error("credential paused on the whole fleet", "credential", r.cred.Name, "refused_in_a_row", len(next.Refusals), "trial_at", next.PausedUntil)
			} else if b.Paused() && !next.Paused() {
				r.log.Info("credential resumed", "credential", r.cred.Name)
			}
		}
		if !errors.Is(err, backup.ErrConflict) {
			return err
		}
	}
}
