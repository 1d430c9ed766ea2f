// Package archiver turns the streams into history: it takes what stands on them, holds it against its subject and its digest,
// stores it, tells what it changed, and puts what cannot be stored into quarantine. Beside that it marks the devices that left
// the inventory, and removes in small steps what the retention no longer keeps. It may be killed at any moment: what was not
// acknowledged comes again, and to store something twice changes nothing.
package archiver

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routeros"
)

// Source is where snapshots and events come from. Take is called for a batch at a time; what it returned nil for does not
// come again, unless an acknowledgement is lost. Both return when ctx ends, with nil, or with the error of take.
type Source interface {
	ConsumeSnapshots(ctx context.Context, take func(context.Context, []backup.Arrival) error) error
	ConsumeUnchanged(ctx context.Context, take func(context.Context, []backup.Arrival) error) error
}

// Store is the archive.
type Store interface {
	Put(ctx context.Context, snaps []archive.Snapshot) ([]archive.Result, error)
	Seen(ctx context.Context, seen []archive.Sighting) (bad []archive.Sighting, err error)
	Quarantine(ctx context.Context, q archive.Quarantined) error
	Devices(ctx context.Context, q archive.DeviceQuery) ([]archive.Device, error)
	Remove(ctx context.Context, devices []string, at time.Time) error
	Return(ctx context.Context, devices []string) error
	Retain(ctx context.Context, p archive.Policy, now time.Time) (archive.Retained, error)
	Renormalize(ctx context.Context, n archive.Normalizer) (archive.Renormalized, error)
	Version(ctx context.Context, device string, which archive.Which) (archive.Version, error)
	Normal(ctx context.Context, device string, which archive.Which) (archive.Version, []byte, error)
}

// Publisher is where changes are told. LastDiff says when the export with a device's last change that stands there began,
// LastArrival reads its last snapshot.
type Publisher interface {
	PublishDiff(ctx context.Context, d backup.Diff) error
	LastDiff(ctx context.Context, site, device string) (time.Time, error)
	LastArrival(ctx context.Context, site, device string) (a backup.Arrival, found bool, err error)
}

// Registry is where the devices of the inventory stand.
type Registry interface {
	Watch(ctx context.Context, fn func(backup.Change) error, ready func(), buckets ...backup.Bucket) error
}

// Meter counts snapshots by what became of them: the statuses of the archive, and Quarantined.
type Meter interface {
	Archived(status string)
}

// Quarantined is what the meter hears of a snapshot that could not be stored.
const Quarantined = "quarantined"

// Options are an Archiver's parts and figures.
type Options struct {
	Source    Source
	Store     Store
	Publisher Publisher
	Registry  Registry
	Meter     Meter
	Policy    archive.Policy // of the retention
	Health    func(error)    // hears what keeps it from storing, and nil when that is over; called by several goroutines
	Log       *slog.Logger
}

// RetryDelay is how long a batch waits in hand before it is stored again, after the archive failed.
const RetryDelay = 2 * time.Second

// Archiver is the stage.
type Archiver struct {
	o       Options
	roster  roster
	missing map[string]time.Time // devices of the archive that the registry does not have, and since when; only look touches it
	deaf    bool                 // the last change was not published; only publishDiffs touches it
}

// New makes an Archiver.
func New(o Options) *Archiver {
	return &Archiver{o: o, roster: roster{keys: map[string]map[string]struct{}{}}, missing: map[string]time.Time{}}
}

// Run works until ctx ends, which is no error. First it gives what is stored in an older normal form the one of this program.
func (a *Archiver) Run(ctx context.Context) error {
	if err := a.renormalize(ctx); err != nil {
		return nil //nolint:nilerr // ctx ended
	}
	g, ctx := errgroup.WithContext(ctx)
	for name, work := range map[string]func(context.Context) error{
		"snapshots": func(ctx context.Context) error { return a.o.Source.ConsumeSnapshots(ctx, a.takeSnapshots) },
		"events":    func(ctx context.Context) error { return a.o.Source.ConsumeUnchanged(ctx, a.takeEvents) },
		"registry":  a.watchRegistry,
		"removed":   a.markRemoved,
		"retention": a.retain,
	} {
		g.Go(func() error {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("archive %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// renormalize gives what is stored in an older normal form the one of this program, so that no change is one of the form alone.
func (a *Archiver) renormalize(ctx context.Context) error {
	return a.keep(ctx, func(ctx context.Context) error {
		done, err := a.o.Store.Renormalize(ctx, archive.Normalizer{Version: routeros.NormalizationVersion, Func: routeros.Normalize})
		if done.Snapshots > 0 {
			a.o.Log.Info("older snapshots have the new normal form", "normalization", routeros.NormalizationVersion,
				"snapshots", done.Snapshots, "merged", done.Merged, "left", done.Left)
		}
		if len(done.Damaged) > 0 {
			a.o.Log.Error("archive damaged: run archive verify", "devices", len(done.Damaged), "first", done.Damaged[0])
		}
		return err
	})
}

// keep stores something, again and again until it is stored or ctx ends: the disk may be full, and what is in hand has no
// other place to wait that costs less.
func (a *Archiver) keep(ctx context.Context, do func(context.Context) error) error {
	for told := false; ; told = true {
		err := do(ctx)
		if err == nil {
			if told {
				a.o.Health(nil)
				a.o.Log.Info("archive takes writes again")
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !told {
			a.o.Health(err)
			a.o.Log.Error("archive not written: trying again, nothing is lost while the stream has room", "err", err)
		}
		if !pause(ctx, RetryDelay) {
			return context.Cause(ctx)
		}
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
