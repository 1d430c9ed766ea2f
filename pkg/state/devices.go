package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// Devices lists the registry, sorted by id. Unreadable records are reported and left out.
func (s *Store) Devices(ctx context.Context) ([]device.Device, error) {
	var out []device.Device
	err := s.list(ctx, backup.BucketDevices, func(c backup.Change) { out = append(out, c.Device) })
	slices.SortFunc(out, func(a, b device.Device) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Site, b.Site)) // a device on the move has two records
	})
	return out, err
}

// Device reads a device by its key.
func (s *Store) Device(ctx context.Context, key string) (d device.Device, found bool, err error) {
	revision, err := s.read(ctx, backup.BucketDevices, key, &d)
	return d, revision > 0, err
}

// FindDevice looks a device up by its id, whatever its site. It reads the device's own records and not the bucket: the cost
// grows with the number of sites, not of devices. Of a device on the move it gives the record at the new site.
func (s *Store) FindDevice(ctx context.Context, id string) (d device.Device, found bool, err error) {
	if device.CheckID(id) != nil { // nothing can have this id, and the empty one makes no subject
		return d, false, nil
	}
	r := s.reader(backup.BucketDevices, func(c backup.Change) error { // in the order in which they were written
		if !c.Deleted {
			d, found = c.Device, true
		}
		return nil
	})
	r.Subjects = []string{subject(backup.BucketDevices, "*."+device.Encode(id))}
	err = s.readAll(ctx, "find device", r)
	return d, found, err
}

// PutDevice writes a device over whatever stood under its key.
func (s *Store) PutDevice(ctx context.Context, d device.Device) error {
	_, err := s.put(ctx, backup.BucketDevices, d.Key(), d)
	return err
}

// DeleteDevice takes a device out of the registry. Its state and host key stay: a router that comes back is neither
// unblocked nor trusted anew.
func (s *Store) DeleteDevice(ctx context.Context, key string) error {
	return s.remove(ctx, backup.BucketDevices, key, 0)
}

// MoveDevice gives a device with a new site its new key. State and host key go with it, unless there are some under the
// new key; the old records go last, so that a call that was cut off anywhere is finished by making it again. While a
// session to the device is open, or when one begins meanwhile, the error wraps backup.ErrConflict: try again later.
func (s *Store) MoveDevice(ctx context.Context, oldKey string, d device.Device) error {
	if oldKey == d.Key() {
		return s.PutDevice(ctx, d)
	}
	state, revision, err := s.State(ctx, oldKey)
	if err != nil {
		return fmt.Errorf("move device %s: %w", d.ID, err)
	}
	if state.Running.Live(time.Now()) {
		return fault.New(fault.Infrastructure, "move device", "%s has an open session: %w", d.ID, backup.ErrConflict)
	}
	for _, step := range []func() error{
		func() error { return s.copyHostKey(ctx, oldKey, d.Key()) },
		func() error {
			if revision == 0 {
				return nil
			}
			state.Running = nil   // it died with its session
			state.SnapshotSeq = 0 // the new site's subject has none: the next backup is published there
			_, err := s.swap(ctx, backup.BucketState, d.Key(), state, 0)
			return unlessThere(err)
		},
		func() error { return s.PutDevice(ctx, d) },
		func() error { return s.removeIfThere(ctx, backup.BucketDevices, oldKey) }, // from here on no worker dials the old key
		func() error {
			if revision == 0 {
				return nil
			}
			return s.remove(ctx, backup.BucketState, oldKey, revision)
		},
		func() error { return s.removeIfThere(ctx, bucketHostKeys, oldKey) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("move device %s: %w", d.ID, err)
		}
	}
	return nil
}

func (s *Store) copyHostKey(ctx context.Context, from, to string) error {
	key, found, err := s.HostKey(ctx, from)
	if err != nil || !found {
		return err
	}
	_, err = s.swap(ctx, bucketHostKeys, to, key, 0)
	return unlessThere(err)
}

// removeIfThere leaves no mark of a deletion where nothing was.
func (s *Store) removeIfThere(ctx context.Context, b backup.Bucket, key string) error {
	revision, err := s.read(ctx, b, key, nil)
	if err != nil || revision == 0 {
		return err
	}
	return s.remove(ctx, b, key, 0)
}

// unlessThere takes a record that is there already as what was wanted.
func unlessThere(err error) error {
	if errors.Is(err, backup.ErrConflict) {
		return nil
	}
	return err
}

// State reads what is known of a device's backups; revision 0 means nothing.
func (s *Store) State(ctx context.Context, key string) (state backup.State, revision uint64, err error) {
	revision, err = s.read(ctx, backup.BucketState, key, &state)
	return state, revision, err
}

// PutState writes a state whose revision is still the given one, 0 for the first; the error wraps backup.ErrConflict when
// it is not. Repeating a write whose answer was lost succeeds.
func (s *Store) PutState(ctx context.Context, key string, state backup.State, revision uint64) (uint64, error) {
	return s.swap(ctx, backup.BucketState, key, state, revision)
}

// States reads every state of the sites, or of all where none is named, by key. Unreadable ones are reported and left out.
func (s *Store) States(ctx context.Context, sites ...string) (map[string]backup.State, error) {
	out := map[string]backup.State{}
	put := func(c backup.Change) { out[c.Key] = c.State }
	if len(sites) == 0 {
		return out, s.list(ctx, backup.BucketState, put)
	}
	for _, site := range sites {
		if err := s.list(ctx, backup.BucketState, put, device.Encode(site)+".*"); err != nil {
			return nil, err
		}
	}
	return out, nil
}
