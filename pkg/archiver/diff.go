package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routeros"
)

const (
	// DiffTimeout is how long the changes of one batch wait for NATS. What it does not take by then is told and left out: the
	// archive has it, and nothing may keep the next snapshots waiting for long.
	DiffTimeout = time.Minute
	// diffAge is how old a change may be that is still published: about as long as the stream keeps it.
	diffAge     = 7 * 24 * time.Hour
	diffContext = 3 // equal lines around a change
)

// publishDiffs tells what a batch that was stored has changed. A snapshot that was stored before may have been lost between
// the archive and the stream: the stream says whether it has that change.
func (a *Archiver) publishDiffs(ctx context.Context, arrivals []backup.Arrival, results []archive.Result) error {
	within, cancel := context.WithTimeoutCause(ctx, DiffTimeout, fmt.Errorf("not taken by NATS within %s", DiffTimeout))
	defer cancel()
	missed := 0
	var first error
	for i, r := range results {
		if r.Status != archive.New && r.Status != archive.Known {
			continue
		}
		err := a.publishDiff(within, arrivals[i].Snapshot, r.Status == archive.Known)
		if err == nil {
			continue
		}
		if missed++; first == nil {
			first = err
		}
		if _, deaf := errors.AsType[unheard](err); deaf {
			a.deaf = true
			cancel() // not a timeout for each of the rest
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // the batch comes again
	}
	if missed > 0 {
		a.o.Log.Warn("changes are archived but not published", "changes", missed, "err", first)
	}
	return nil
}

// unheard is what kept NATS from taking a change, as against what the archive has against one.
type unheard struct{ error }

func (u unheard) Unwrap() error { return u.error }

func (a *Archiver) publishDiff(ctx context.Context, s *backup.Snapshot, known bool) error {
	d, found, err := a.diff(ctx, s)
	if err != nil || !found {
		return err
	}
	if known {
		last, err := a.o.Publisher.LastDiff(ctx, d.Site, d.DeviceID)
		if err == nil && !last.Before(d.CollectedAt) {
			return nil
		}
	}
	for {
		err := a.o.Publisher.PublishDiff(ctx, d)
		if err == nil {
			a.deaf = false
			return nil
		}
		if a.deaf || !pause(ctx, RetryDelay) {
			return unheard{err}
		}
	}
}

// diff is the change that a snapshot brought; false where it brought none, and where it is too old.
func (a *Archiver) diff(ctx context.Context, s *backup.Snapshot) (d backup.Diff, found bool, err error) {
	to, err := a.o.Store.Version(ctx, s.DeviceID, archive.Which{At: s.CollectedAt})
	if errors.Is(err, archive.ErrNotFound) || err == nil && (!to.FirstSeen.Equal(s.CollectedAt) || to.Previous == "" || time.Since(to.Archived) > diffAge) {
		return d, false, nil
	} else if err != nil {
		return d, false, err
	}
	text := []byte(s.ConfigText)
	if to.Digest != s.SHA256Hash { // it has a newer normal form since
		if to, text, err = a.o.Store.Normal(ctx, s.DeviceID, archive.Which{Number: to.Number}); err != nil {
			return d, false, err
		}
	}
	from, old, err := a.o.Store.Normal(ctx, s.DeviceID, archive.Which{Number: to.Number - 1})
	if err == nil {
		d, err = newDiff(from, to, old, text)
	}
	return d, err == nil, err
}

// newDiff is the event of the change from one version to the next.
func newDiff(from, to archive.Version, old, text []byte) (backup.Diff, error) {
	c := archive.Compare(from, to, old, text)
	d := backup.Diff{
		V: backup.EventVersion, DeviceID: to.Device, TenantID: to.Tenant, Site: to.Site, Name: to.Name, RouterOSVersion: to.RouterOS,
		Version: to.Number, SHA256Hash: to.Digest, PreviousHash: from.Digest, PreviousSeen: from.LastSeen, CollectedAt: to.FirstSeen,
		Trigger: to.Trigger, Attempt: to.Attempt, LinesAdded: c.Added, LinesRemoved: c.Removed, Summary: c.Summary, ChangesTotal: len(c.Changes),
		Text: routeros.UnifiedRedacted(old, text, nameVersion(from), nameVersion(to), diffContext),
	}
	if len(d.Text) > backup.DiffTextMax {
		d.Text = ""
	}
	var err error
	d.Changes, err = firstChanges(c.Changes, backup.DiffChangesMax)
	return d, err
}

func nameVersion(v archive.Version) string {
	return fmt.Sprintf("%s @%d %s", v.Device, v.Number, v.FirstSeen.UTC().Format(time.RFC3339))
}

// firstChanges is a JSON array of as many changes as fit so many bytes.
func firstChanges(changes []routeros.Change, most int) (json.RawMessage, error) {
	out := json.RawMessage("[")
	for i := range changes {
		one, err := json.Marshal(&changes[i])
		if err != nil {
			return nil, fmt.Errorf("encode change: %w", err)
		}
		if len(out)+len(one)+2 > most {
			break
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	return append(out, ']'), nil
}
