package archiver

import (
	"context"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

const (
	lookInterval = 30 * time.Second // between two looks for devices that left the inventory, where something changed
	lookAgain    = time.Hour        // where nothing did
	// removeDelay passes before a device that the registry does not have counts as removed: one that moves to another site is
	// gone from the one before it is on the other.
	removeDelay = 25 * time.Second

	retainDelay    = time.Minute // after the start
	retainInterval = time.Hour
)

// roster is the inventory as the registry has it.
type roster struct {
	mu      sync.Mutex
	keys    map[string]map[string]struct{} // by device id: one key, or two for a moment while it moves
	ready   bool
	changed bool
}

func (r *roster) apply(c backup.Change) error {
	_, id, err := device.SplitKey(c.Key)
	if err != nil {
		return nil //nolint:nilerr // a key that we did not write is no device of ours
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
	if c.Deleted {
		delete(r.keys[id], c.Key)
		if len(r.keys[id]) == 0 {
			delete(r.keys, id)
		}
		return nil
	}
	if r.keys[id] == nil {
		r.keys[id] = map[string]struct{}{}
	}
	r.keys[id][c.Key] = struct{}{}
	return nil
}

func (a *Archiver) watchRegistry(ctx context.Context) error {
	return a.o.Registry.Watch(ctx, a.roster.apply, func() {
		a.roster.mu.Lock()
		defer a.roster.mu.Unlock()
		a.roster.ready = true
	}, backup.BucketDevices)
}

// markRemoved looks, by state and not by what happened, so that what left while no archiver ran is seen too.
func (a *Archiver) markRemoved(ctx context.Context) error {
	var last time.Time
	for pause(ctx, lookInterval) {
		a.roster.mu.Lock()
		due := a.roster.changed || len(a.missing) > 0 || time.Since(last) >= lookAgain
		a.roster.changed = false
		a.roster.mu.Unlock()
		if !due {
			continue
		}
		last = time.Now()
		if err := a.look(ctx, last); err != nil && ctx.Err() == nil {
			a.o.Log.Warn("devices that left the inventory not looked for", "err", err)
		}
	}
	return nil
}

// look makes tombstones of the devices that have been missing for long enough, and of those that are there again devices: a
// router that is in the inventory and cannot be reached keeps its history.
func (a *Archiver) look(ctx context.Context, now time.Time) error {
	here, known := a.roster.ids()
	if !known {
		return nil
	}
	all, err := a.o.Store.Devices(ctx, archive.DeviceQuery{})
	if err != nil {
		return err
	}
	if back := returned(all, here); len(back) > 0 {
		if err := a.o.Store.Return(ctx, back); err != nil {
			return err
		}
		a.o.Log.Info("devices are in the inventory again: their history stays", "devices", len(back), "first", back[0])
	}
	gone := a.gone(all, here, now)
	if len(gone) == 0 {
		return nil
	}
	if err := a.o.Store.Remove(ctx, gone, now); err != nil {
		return err
	}
	for _, id := range gone {
		delete(a.missing, id)
	}
	a.o.Log.Info("devices left the inventory: their history stays for its time", "devices", len(gone), "first", gone[0])
	return nil
}

// returned names the devices of the inventory that count as removed.
func returned(all []archive.Device, here map[string]bool) (back []string) {
	for i := range all {
		if d := &all[i]; here[d.ID] && !d.Removed.IsZero() {
			back = append(back, d.ID)
		}
	}
	return back
}

// ids are the devices of the inventory. An inventory without any is not known: the registry may have been lost, and nobody
// runs an archive of nothing.
func (r *roster) ids() (here map[string]bool, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	here = make(map[string]bool, len(r.keys))
	for id := range r.keys {
		here[id] = true
	}
	return here, r.ready && len(here) > 0
}

// gone names the devices that were missing before and still are, and remembers those that are missing now.
func (a *Archiver) gone(all []archive.Device, here map[string]bool, now time.Time) []string {
	missing := map[string]time.Time{}
	var gone []string
	for i := range all {
		d := &all[i]
		if here[d.ID] || !d.Removed.IsZero() {
			continue
		}
		since, before := a.missing[d.ID]
		if !before {
			since = now
		}
		missing[d.ID] = since
		if now.Sub(since) >= removeDelay {
			gone = append(gone, d.ID)
		}
	}
	a.missing = missing
	return gone
}

// retain removes what the policy no longer keeps, now and then.
func (a *Archiver) retain(ctx context.Context) error {
	if a.o.Policy == (archive.Policy{}) {
		return nil
	}
	for wait := retainDelay; pause(ctx, wait); wait = retainInterval {
		r, err := a.o.Store.Retain(ctx, a.o.Policy, time.Now())
		if err != nil && ctx.Err() == nil {
			a.o.Log.Warn("what has expired was not all removed: going on in an hour", "err", err)
		}
		if r.Versions > 0 {
			a.o.Log.Info("expired versions removed", "versions", r.Versions, "devices", r.Devices)
		}
	}
	return nil
}
