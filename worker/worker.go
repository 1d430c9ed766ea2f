// Package worker does one backup: it decides whether to dial at all, holds the device's running mark while a session is
// open, has the export collected and proven, publishes it, and writes the outcome. Everything in it may be killed at any
// moment and run twice.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Store is what is known of devices. Revision 0 means that there is no record. What Device, Request, HostKey and Breaker say may
// be a moment old, unless the task was made for a request (asked), or the router showed another host key (anew).
type Store interface {
	Device(ctx context.Context, key string) (device.Device, bool, error)
	State(ctx context.Context, key string) (backup.State, uint64, error)
	PutState(ctx context.Context, key string, s backup.State, revision uint64) (uint64, error)
	Request(ctx context.Context, key string, asked bool) (backup.Request, bool, error)
	HostKey(ctx context.Context, key string, anew bool) (device.HostKey, bool, error)
	TrustHostKey(ctx context.Context, key string, k device.HostKey) (device.HostKey, error)
	Breaker(ctx context.Context, version string) (backup.Breaker, uint64, error)
	PutBreaker(ctx context.Context, version string, b backup.Breaker, revision uint64) (uint64, error)
}

// Publisher puts events on the streams.
type Publisher interface {
	PublishSnapshot(ctx context.Context, s backup.Snapshot, raw []byte, expected uint64) (uint64, error)
	PublishEvent(ctx context.Context, e backup.Event) error
	PublishSuspect(ctx context.Context, s backup.Suspect, text []byte) error
	Last(ctx context.Context, site, id string) (snap backup.Snapshot, seq uint64, found bool, err error)
}

// Collector fetches an export.
type Collector interface {
	Collect(ctx context.Context, o backup.Order) (backup.Export, error)
}

// Credentials resolves a credential by name.
type Credentials interface {
	Credential(ctx context.Context, name string) (secret.Credential, error)
}

// Presence tells whether a device is known to be online: "" where nothing is known.
type Presence interface {
	Online(ctx context.Context, deviceID string) (string, error)
}

// Meter counts what happens.
type Meter interface {
	BackupDone(site string, result backup.Result, kind fault.Kind)
	StageDone(stage string, took time.Duration)
	SessionOpened(site string)
	SessionClosed(site string)
}

// Options are a Worker's parts and figures.
type Options struct {
	Store       Store
	Publisher   Publisher
	Collector   Collector
	Credentials Credentials
	Presence    Presence // nil: as the queue knows it
	Meter       Meter
	Log         *slog.Logger

	Name        string        // of this process, unique in the fleet
	Whole       time.Duration // deadline of one backup
	RedialDelay time.Duration // never an automatic dial to a device within this of the last
	Ladder      backup.Ladder
}

const (
	// MarkTTL is how long a running mark counts after its last renewal.
	MarkTTL = 60 * time.Second
	// MarkInterval is how often an open session renews its mark.
	MarkInterval = 20 * time.Second
	// The outcome is tried for as long as the attempt has time, and for this much after its end.
	outcomeTimeout = 15 * time.Second
	// How long a failed publish or outcome waits before it is tried again with the snapshot still in hand.
	publishRetryDelay = time.Second
	// The third lost lease in a row counts as a failure of the device.
	lostLeasesMax = 3
	// Clocks of two processes may differ by this much; a task is not put back for less.
	clockSlack = 2 * time.Second
)

// Worker runs backup tasks. It is safe for concurrent use.
type Worker struct{ o Options }

// New makes a Worker.
func New(o Options) *Worker { return &Worker{o: o} }

// run is one task in work.
type run struct {
	*Worker
	log      *slog.Logger
	site     string
	key      string
	dev      device.Device
	cred     secret.Credential
	way      []backup.Hop
	attempt  string
	trigger  backup.Reason
	forced   bool
	bare     bool         // somebody said that the router has no secrets
	trial    bool         // this login is the one that a paused credential is allowed
	last     backup.State // what was known before this attempt
	state    backup.State // what the store holds now; the mark's renewal writes it while a session is open
	revision uint64
	began    uint64      // revision of the running mark
	fetched  atomic.Bool // the export is here and the router is let go
	listed   uint64      // sequence of the device's last snapshot as the store had it
}

// Run does the task and says what follows. The error is for people; Next decides.
func (w *Worker) Run(ctx context.Context, site string, t backup.Task) (backup.Next, error) {
	r := &run{
		Worker: w, site: site, key: device.Key(site, t.Device), attempt: newAttempt(), trigger: t.Reason,
		log: w.o.Log.With("device", t.Device, "site", site, "slot", t.Slot),
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.o.Whole, fault.New(fault.Timeout, "whole backup", "not finished within %s", w.o.Whole))
	defer cancel()
	next, err := r.prepare(ctx, t)
	if next != nil {
		return *next, err
	}
	return r.backUp(ctx)
}

// prepare reads what is known and returns a decision where the device is not to be dialled.
func (r *run) prepare(ctx context.Context, t backup.Task) (*backup.Next, error) {
	var (
		found bool
		err   error
	)
	if r.dev, found, err = r.o.Store.Device(ctx, r.key); err != nil {
		return r.notDialled(err)
	}
	if !found || !r.dev.Enabled {
		return &backup.Next{Action: backup.Done}, nil // removed, moved or disabled since the task was made
	}
	if r.state, r.revision, err = r.o.Store.State(ctx, r.key); err != nil {
		return r.notDialled(err)
	}
	request, requested, err := r.o.Store.Request(ctx, r.key, t.Reason == backup.ReasonRequest)
	if err != nil {
		return r.notDialled(err)
	}
	requested = requested && !request.ServedBy(r.state)
	if requested {
		r.trigger, r.forced, r.bare = backup.ReasonRequest, request.Force, request.WithoutSecrets
	}
	early := r.state.Block != nil || r.state.Refused != "" // the credential has a say in it; else it is read when it is needed
	if early {
		if err := r.resolve(ctx); err != nil {
			return r.notDialled(err)
		}
	}
	online := t.Online
	if r.o.Presence != nil {
		if online, err = r.o.Presence.Online(ctx, r.dev.ID); err != nil {
			r.log.Warn("device status not readable: trying anyway", "err", err)
		}
	}
	g := Gate(r.state, Facts{
		Now: time.Now(), Slot: t.Slot, Requested: requested, Forced: r.forced, CredentialVersion: r.cred.Version,
		Online: online, RedialDelay: r.o.RedialDelay, Ladder: r.o.Ladder,
	})
	if g != nil {
		return &g.Next, errors.New(g.Why)
	}
	if !early {
		if err := r.resolve(ctx); err != nil {
			return r.notDialled(err)
		}
	}
	if err := r.findWay(ctx); err != nil {
		return r.notDialled(r.explain(ctx, fault.Infrastructure, err))
	}
	if next, err := r.admit(ctx); next != nil {
		return next, err
	}
	if !requested && !pause(ctx, time.Until(time.Unix(t.Slot, 0))) { // an export that began before its slot would not count for it
		return r.notDialled(context.Cause(ctx))
	}
	r.listed = r.state.SnapshotSeq
	lost, err := r.countLost(ctx)
	r.last = r.state
	return lost, err
}

// resolve reads the device's credential. Why it cannot be read shows in the device's state, for whoever asks for its status.
func (r *run) resolve(ctx context.Context) (err error) {
	if r.cred, err = r.o.Credentials.Credential(ctx, r.dev.Credential); err != nil {
		return r.explain(ctx, fault.Infrastructure, err)
	}
	return nil
}

// findWay gathers what opens the jump hosts on the way to the device.
func (r *run) findWay(ctx context.Context) error {
	for _, j := range r.dev.Jumps {
		hop := backup.Hop{Jump: j, Trust: func(ctx context.Context, k device.HostKey) error { return r.trust(ctx, j.Key(), j.Endpoint(), k) }}
		var err error
		if hop.Credential, err = r.o.Credentials.Credential(ctx, j.Credential); err != nil {
			return fmt.Errorf("jump host %s: %w", j.ID, err)
		}
		if hop.HostKey, err = r.hostKey(ctx, j.Key(), false); err != nil {
			return err
		}
		r.way = append(r.way, hop)
	}
	return nil
}

// hostKey reads the host key on record; nil where there is none.
func (r *run) hostKey(ctx context.Context, key string, anew bool) (*device.HostKey, error) {
	k, found, err := r.o.Store.HostKey(ctx, key, anew)
	if err != nil || !found {
		return nil, err
	}
	return &k, nil
}

// notDialled is a fault of ours before anything reached the router: it never counts against the device.
func (r *run) notDialled(err error) (*backup.Next, error) {
	r.log.Warn("backup put back", "err", err)
	r.o.Meter.BackupDone(r.site, backup.ResultFailed, fault.Infrastructure)
	next := r.o.Ladder.Next(fault.Infrastructure, 0)
	return &next, err
}

// backUp sets the mark, collects, publishes and writes the outcome.
func (r *run) backUp(ctx context.Context) (backup.Next, error) {
	if err := r.mark(ctx); err != nil {
		if errors.Is(err, backup.ErrConflict) { // another worker was quicker
			return backup.Next{Action: backup.Again, Delay: backup.BusyDelay}, err
		}
		next, err := r.notDialled(err)
		return *next, err
	}
	r.o.Meter.SessionOpened(r.site)
	held, stop := r.keepMark(ctx)
	export, seq, err := r.guarded(held)
	stop()
	r.o.Meter.SessionClosed(r.site)
	if export.Release != nil {
		defer export.Release()
	}
	return r.conclude(ctx, export, seq, err)
}

// guarded makes a panic a failure of this attempt: the mark goes, and the device's ladder sees to it that a router that
// trips us does not do so all the time.
func (r *run) guarded(ctx context.Context) (e backup.Export, seq uint64, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic", "value", p, "stack", string(debug.Stack()))
			e, seq, err = backup.Export{}, 0, fault.New(fault.Internal, "back up", "panic: %v (the log has the stack)", p)
		}
	}()
	return r.collectAndPublish(ctx)
}

// collectAndPublish returns the stream sequence of the device's last snapshot after a proven export.
func (r *run) collectAndPublish(ctx context.Context) (backup.Export, uint64, error) {
	known, err := r.hostKey(ctx, r.key, false)
	if err != nil {
		return backup.Export{}, 0, err
	}
	export, err := r.collect(ctx, known)
	if err != nil {
		return export, 0, err
	}
	r.fetched.Store(true)
	started := time.Now()
	seq, err := r.publish(ctx, export)
	r.o.Meter.StageDone("publish", time.Since(started))
	return export, seq, err
}

func (r *run) collect(ctx context.Context, known *device.HostKey) (backup.Export, error) {
	export, err := r.o.Collector.Collect(ctx, backup.Order{
		Device: r.dev, Credential: r.cred, Jumps: r.way, HostKey: known,
		Trust:   func(ctx context.Context, k device.HostKey) error { return r.trust(ctx, r.key, r.dev.Endpoint(), k) },
		Trace:   func(s backup.Step) { r.o.Meter.StageDone(s.Name, s.Took) },
		Version: r.last.Version, LastBytes: r.last.Bytes, LastDigest: r.lastDigest(), LastNormalization: r.last.Normalization,
		SeenGaps: r.last.SeenGaps, KnownGaps: r.last.KnownGaps,
		Secrets: r.last.Secrets, LastNormal: r.lastNormal, WithoutSecrets: r.bare || r.last.NoSecrets,
		FileLeft: r.last.FileLeft || r.last.Lost > 0 && r.dev.LargeExport == device.LargeExportSFTP, // or killed before it could say so
	})
	if err == nil {
		return export, nil
	}
	err = endCause(ctx, err)
	if fault.KindOf(err) != fault.HostKey || export.HostKey == nil {
		return export, err
	}
	now, rerr := r.hostKey(ctx, r.key, true)
	switch {
	case rerr != nil:
		return export, rerr
	case now != nil && now.Fingerprint == export.HostKey.Fingerprint:
		return export, fault.New(fault.Infrastructure, "trust host key", "the key that the router shows came on record meanwhile")
	}
	return export, err
}

// lastDigest is that of the last snapshot, where it is known which that is.
func (r *run) lastDigest() string {
	if r.last.SnapshotSeq == 0 {
		return ""
	}
	return r.last.Digest
}

// endCause is what ended a session from outside, where something did, instead of what the end looked like from inside. An
// end without a reason of ours is asynq's: the lease is lost.
func endCause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](cause); ok {
		return cause
	}
	return fault.New(fault.Infrastructure, "hold lease", "the queue ended the task: %w", cause)
}

// lastNormal reads the normal form of the device's last snapshot.
func (r *run) lastNormal(ctx context.Context) ([]byte, error) {
	snap, _, found, err := r.o.Publisher.Last(ctx, r.site, r.dev.ID)
	if err != nil || !found {
		return nil, err
	}
	return []byte(snap.ConfigText), nil
}

// trust records an unknown host key; when another session was first, its key must be the same.
func (r *run) trust(ctx context.Context, key, endpoint string, k device.HostKey) error {
	stored, err := r.o.Store.TrustHostKey(ctx, key, k)
	if err != nil {
		return err
	}
	if stored.Fingerprint != k.Fingerprint {
		return fault.New(fault.HostKey, "login", "%s showed host key %s, while %s was recorded a moment ago", endpoint, k.Fingerprint, stored.Fingerprint)
	}
	return nil
}

// publish puts a changed export on the stream and an event for an unchanged one, again and again until the whole deadline:
// the router is not dialled again for a fault of ours.
func (r *run) publish(ctx context.Context, e backup.Export) (uint64, error) {
	for try := 1; ; try++ {
		seq, err := r.publishOnce(ctx, e)
		if fault.KindOf(err) == fault.Timeout { // the router has done its part
			return 0, fault.New(fault.Infrastructure, "publish", "not taken before the time was up: %w", err)
		}
		if err == nil || fault.KindOf(err) != fault.Infrastructure || errors.Is(err, backup.ErrStale) {
			return seq, err
		}
		if try == 1 {
			r.log.Warn("publish failed: holding the snapshot and trying again", "err", err)
		}
		if !pause(ctx, publishRetryDelay) {
			return 0, fmt.Errorf("%w (gave up: %w)", err, context.Cause(ctx))
		}
	}
}

func (r *run) publishOnce(ctx context.Context, e backup.Export) (uint64, error) {
	if !r.changed(e) {
		event := r.event(backup.EventUnchanged)
		event.Digest, event.Version, event.CollectAt = e.Digest, e.Version, e.Started
		if err := r.o.Publisher.PublishEvent(ctx, event); err != nil { // an event may be lost; a proven backup is not undone by it
			r.log.Warn("event not published", "err", err)
		}
		return r.last.SnapshotSeq, nil
	}
	return r.o.Publisher.PublishSnapshot(ctx, backup.Snapshot{
		DeviceID: r.dev.ID, TenantID: r.dev.Tenant, RouterOSVersion: e.Version, CollectedAt: e.Started.UTC(),
		SHA256Hash: e.Digest, ConfigText: string(e.Normal), Normalization: e.Normalization,
		V: backup.EventVersion, Name: r.dev.Name, Site: r.dev.Site, Bytes: len(e.Raw), Identity: e.Identity, Model: e.Model,
		SerialNumber: e.SerialNumber, Complete: true, KnownGaps: e.KnownGaps, Proof: e.Proof, Trigger: r.trigger, Attempt: r.attempt,
	}, e.Raw, r.last.SnapshotSeq)
}

// changed says whether the export is another configuration than the last one. Digests compare within one normalization
// version only.
func (r *run) changed(e backup.Export) bool {
	return r.last.SnapshotSeq == 0 || r.last.Digest != e.Digest || r.last.Normalization != e.Normalization
}

func (r *run) event(t backup.EventType) backup.Event {
	return backup.Event{
		V: backup.EventVersion, Type: t, DeviceID: r.dev.ID, TenantID: r.dev.Tenant, Site: r.dev.Site, Name: r.dev.Name,
		At: time.Now().UTC(), Attempt: r.attempt, Trigger: r.trigger,
	}
}

// pause waits; false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
