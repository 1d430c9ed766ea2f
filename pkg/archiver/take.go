package archiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routeros"
)

// refused is a snapshot that cannot be stored, and why.
type refused struct {
	backup.Arrival
	why error
}

// takeSnapshots stores a batch in one transaction, then those in quarantine that could not be stored, and tells what changed.
func (a *Archiver) takeSnapshots(ctx context.Context, arrivals []backup.Arrival) error {
	var snaps []archive.Snapshot
	var from []backup.Arrival
	var bad []refused
	for _, x := range arrivals {
		if err := check(x); err != nil {
			bad = append(bad, refused{x, err})
			continue
		}
		snaps, from = append(snaps, record(x)), append(from, x)
	}
	var results []archive.Result
	err := a.keep(ctx, func(ctx context.Context) (err error) {
		results, err = a.o.Store.Put(ctx, snaps)
		return err
	})
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.Status == archive.Refused {
			bad = append(bad, refused{from[i], r.Err})
			continue
		}
		a.o.Meter.Archived(string(r.Status))
		a.o.Log.Debug("snapshot archived", "device", from[i].Device, "site", from[i].Site, "status", r.Status, "digest", r.Version.Digest, "version", r.Version.Number)
	}
	if slices.ContainsFunc(snaps, func(s archive.Snapshot) bool { return s.Normalization < routeros.NormalizationVersion }) {
		if err := a.renormalize(ctx); err != nil { // from a worker of the version before
			return err
		}
	}
	slices.SortFunc(bad, func(x, y refused) int { return cmp.Compare(x.Seq, y.Seq) })
	for _, b := range bad {
		if err := a.quarantine(ctx, b); err != nil {
			return err
		}
	}
	return a.publishDiffs(ctx, from, results)
}

// check holds a snapshot against its subject, by which the server let its publisher in. What it says of its text the store
// checks.
func check(a backup.Arrival) error {
	if a.Err != nil {
		return a.Err
	}
	s := a.Snapshot
	switch {
	case s.Site != a.Site || s.DeviceID != a.Device:
		return fmt.Errorf("its subject is of device %q on site %q, its text says device %q on site %q", a.Device, a.Site, s.DeviceID, s.Site)
	case !s.Complete:
		return errors.New("it does not say that the export was proven complete")
	}
	return nil
}

// record is what the archive keeps of a snapshot.
func record(a backup.Arrival) archive.Snapshot {
	s := a.Snapshot
	return archive.Snapshot{
		Device: s.DeviceID, Site: s.Site, Name: s.Name, Tenant: s.TenantID, CollectedAt: s.CollectedAt, Digest: s.SHA256Hash,
		Normalization: s.Normalization, Normal: []byte(s.ConfigText), Raw: a.Raw, RouterOS: s.RouterOSVersion, Proof: s.Proof,
		Model: s.Model, Serial: s.SerialNumber, Identity: s.Identity, KnownGaps: s.KnownGaps, Trigger: string(s.Trigger),
		Attempt: s.Attempt, Seq: a.Seq,
	}
}

func (a *Archiver) quarantine(ctx context.Context, b refused) error {
	a.o.Meter.Archived(Quarantined)
	a.o.Log.Error("snapshot not archived but put into quarantine: somebody must look at it", "subject", b.Subject, "site", b.Site, "device", b.Device, "seq", b.Seq, "err", b.why)
	return a.keep(ctx, func(ctx context.Context) error {
		return a.o.Store.Quarantine(ctx, archive.Quarantined{
			At: b.At, Reason: b.why.Error(), Subject: b.Subject, Site: b.Site, Device: b.Device, Seq: b.Seq,
			Data: b.Data[:min(len(b.Data), 2*archive.TextMax)],
		})
	})
}

// takeEvents moves the last-seen times of a batch. An event that cannot be used is told and let go: the next one says the same.
func (a *Archiver) takeEvents(ctx context.Context, arrivals []backup.Arrival) error {
	var seen []archive.Sighting
	for _, x := range arrivals {
		e := x.Event
		switch {
		case x.Err != nil:
			a.tellEvent(x.Subject, x.Err)
		case e.Site != x.Site || e.DeviceID != x.Device:
			a.tellEvent(x.Subject, fmt.Errorf("its text says device %q on site %q", e.DeviceID, e.Site))
		default:
			seen = append(seen, archive.Sighting{Device: e.DeviceID, Site: e.Site, Name: e.Name, Tenant: e.TenantID, Digest: e.Digest, At: e.CollectAt})
		}
	}
	var bad []archive.Sighting
	err := a.keep(ctx, func(ctx context.Context) (err error) {
		bad, err = a.o.Store.Seen(ctx, seen)
		return err
	})
	for _, b := range bad {
		a.tellEvent("device "+b.Device, errors.New("its device, site, time or digest is none"))
	}
	if err != nil {
		return err
	}
	for _, g := range seen {
		if err := a.fill(ctx, g); err != nil && ctx.Err() == nil {
			a.o.Log.Warn("device was seen and has no text in the archive", "device", g.Device, "site", g.Site, "err", err)
		}
	}
	return nil
}

func (a *Archiver) tellEvent(of string, err error) {
	a.o.Log.Warn("event left out of the archive", "of", of, "err", err)
}
