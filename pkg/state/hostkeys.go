package state

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// HostKeyChange is one entry of a device's ledger of host keys.
type HostKeyChange struct {
	At        time.Time
	Forgotten bool
	HostKey   device.HostKey // none where it was forgotten
}

// HostKeys reads every host key on record, by key. Unreadable ones are reported and left out.
func (s *Store) HostKeys(ctx context.Context) (map[string]device.HostKey, error) {
	out := map[string]device.HostKey{}
	err := s.list(ctx, bucketHostKeys, func(c backup.Change) { out[c.Key] = c.HostKey })
	return out, err
}

// HostKeyRecord reads the host key on record for a change by PutHostKey; revision 0 means that there is none.
func (s *Store) HostKeyRecord(ctx context.Context, key string) (k device.HostKey, revision uint64, err error) {
	revision, err = s.read(ctx, bucketHostKeys, key, &k)
	return k, revision, err
}

// PutHostKey puts a host key on record in place of the one with the given revision, as PutSite does a site.
func (s *Store) PutHostKey(ctx context.Context, key string, k device.HostKey, revision uint64) (uint64, error) {
	return s.swap(ctx, bucketHostKeys, key, k, revision)
}

// HostKeyHistory reads the last 5 changes of a device's host key, newest first.
func (s *Store) HostKeyHistory(ctx context.Context, key string) ([]HostKeyChange, error) {
	const step = "read host key history"
	var entries []jetstream.KeyValueEntry
	err := natsio.Do(ctx, OperationTimeout, step, func(ctx context.Context) (err error) {
		entries, err = s.kv[bucketHostKeys].History(ctx, key)
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, natsio.Fail(step, err)
	}
	var out []HostKeyChange
	for _, e := range slices.Backward(entries) {
		c := HostKeyChange{At: e.Created(), Forgotten: e.Operation() != jetstream.KeyValuePut}
		if !c.Forgotten {
			if err := json.Unmarshal(e.Value(), &c.HostKey); err != nil {
				s.report(fault.New(fault.Infrastructure, step, "the record %s is unreadable: %w", key, err))
				continue
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// HostKey reads the host key on record.
func (s *Store) HostKey(ctx context.Context, key string) (k device.HostKey, found bool, err error) {
	revision, err := s.read(ctx, bucketHostKeys, key, &k)
	return k, revision > 0, err
}

// TrustHostKey records the first host key of a device. When there is one already, it returns that one: the caller compares.
func (s *Store) TrustHostKey(ctx context.Context, key string, k device.HostKey) (device.HostKey, error) {
	_, err := s.swap(ctx, bucketHostKeys, key, k, 0)
	if !errors.Is(err, backup.ErrConflict) {
		return k, err
	}
	stored, found, rerr := s.HostKey(ctx, key)
	if rerr != nil {
		return device.HostKey{}, rerr
	}
	if !found { // forgotten between the two looks
		return device.HostKey{}, err
	}
	return stored, nil
}

// ForgetHostKey takes the host key off the record, so that the next one is trusted on first use.
func (s *Store) ForgetHostKey(ctx context.Context, key string) error {
	return s.removeIfThere(ctx, bucketHostKeys, key)
}
