package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// KeyedDevice is a device with what is known of its host key.
type KeyedDevice struct {
	Device     device.Device
	OnRecord   *device.HostKey // nil: none
	Shown      *device.HostKey // what it showed instead, where it is blocked for that
	SharedWith []string        // other devices with the same key on record: their images may be clones
}

// KeyedDevices lists the registry with the host keys, by id.
func (p *Parts) KeyedDevices(ctx context.Context) ([]KeyedDevice, error) {
	devices, err := p.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := p.Store.HostKeys(ctx)
	if err != nil {
		return nil, err
	}
	states, err := p.Store.States(ctx)
	if err != nil {
		return nil, err
	}
	shared := SharedKeys(devices, keys)
	out := make([]KeyedDevice, 0, len(devices))
	for _, d := range devices {
		k := KeyedDevice{Device: d, SharedWith: shared[d.ID]}
		if onRecord, ok := keys[d.Key()]; ok {
			k.OnRecord = &onRecord
		}
		if b := states[d.Key()].Block; b != nil && b.Kind == fault.HostKey {
			k.Shown = b.HostKey
		}
		out = append(out, k)
	}
	return out, nil
}

// sharedMax bounds the ids that are listed beside a device of a fleet of clones.
const sharedMax = 10

// SharedKeys lists, by device id, the other devices whose host key on record is the same, at most 10.
func SharedKeys(devices []device.Device, keys map[string]device.HostKey) map[string][]string {
	byKey := map[string][]string{}
	for _, d := range devices {
		if k, ok := keys[d.Key()]; ok {
			byKey[k.Fingerprint] = append(byKey[k.Fingerprint], d.ID)
		}
	}
	out := map[string][]string{}
	for _, ids := range byKey {
		if len(ids) < 2 {
			continue
		}
		for _, id := range ids {
			others := slices.DeleteFunc(slices.Clone(ids[:min(len(ids), sharedMax+1)]), func(other string) bool { return other == id })
			out[id] = others[:min(len(others), sharedMax)]
		}
	}
	return out
}

// AcceptHostKey puts key on record in place of the one that k has, and lifts the block that key had caused. When another
// key came on record meanwhile, the error wraps backup.ErrConflict.
func (p *Parts) AcceptHostKey(ctx context.Context, k KeyedDevice, key device.HostKey) error {
	now, revision, err := p.Store.HostKeyRecord(ctx, k.Device.Key())
	if err != nil {
		return err
	}
	if (revision > 0) != (k.OnRecord != nil) || revision > 0 && now.Fingerprint != k.OnRecord.Fingerprint {
		return fault.New(fault.Internal, "accept host key", "another key came on record meanwhile, %s %s: look again: %w", now.Type, now.Fingerprint, backup.ErrConflict)
	}
	if _, err := p.Store.PutHostKey(ctx, k.Device.Key(), key, revision); err != nil {
		return fmt.Errorf("accept host key: %w", err)
	}
	_, err = p.Lift(ctx, k.Device.Key(), func(b backup.Block) bool {
		return b.Kind == fault.HostKey && (b.HostKey == nil || b.HostKey.Fingerprint == key.Fingerprint)
	})
	return err
}
