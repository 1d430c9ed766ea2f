package archiver

import (
	"context"
	"errors"
	"fmt"

	"github.com/confhaul/confhaul/pkg/archive"
)

// fill stores the text of a device that was seen and of which the archive has none: retention removed it while the device was
// out of the inventory, or the archive is a new one. Its worker does not publish again what it has published once, but the
// stream keeps the last snapshot. What fails is told, and tried again when the device is seen the next time.
func (a *Archiver) fill(ctx context.Context, g archive.Sighting) error {
	if _, err := a.o.Store.Version(ctx, g.Device, archive.Which{}); !errors.Is(err, archive.ErrNotFound) {
		return err
	}
	last, found, err := a.o.Publisher.LastArrival(ctx, g.Site, g.Device)
	if err == nil && found {
		err = check(last)
	}
	if err != nil {
		return err
	}
	if !found {
		return errors.New("the stream has it no more: it is archived when it changes")
	}
	if last.Snapshot.SHA256Hash != g.Digest {
		return nil // a newer one, which is on its way
	}
	s := record(last)
	status, err := a.putOne(ctx, s)
	if err == nil && status == archive.Expired { // as it was collected then; it was the same when it was seen
		s.CollectedAt = g.At
		status, err = a.putOne(ctx, s)
	}
	if err == nil {
		a.o.Log.Info("text of a device without one taken from the stream", "device", g.Device, "site", g.Site, "status", status, "digest", g.Digest)
	}
	return err
}

func (a *Archiver) putOne(ctx context.Context, s archive.Snapshot) (archive.Status, error) {
	results, err := a.o.Store.Put(ctx, []archive.Snapshot{s})
	if err != nil {
		return "", fmt.Errorf("archive it: %w", err)
	}
	return results[0].Status, results[0].Err
}
