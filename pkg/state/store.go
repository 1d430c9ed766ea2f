// Package state keeps what is known, in JetStream KV: devices, host keys, states, sites, requests, credentials' breakers
// and which inventory was loaded. Records change by compare-and-set and outlive every process.
package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

const (
	// OperationTimeout bounds the reading or writing of one record.
	OperationTimeout = 5 * time.Second
	// ListTimeout bounds the reading of a whole bucket: 100,000 records over a slow line.
	ListTimeout = 30 * time.Second
	// RequestTTL is how long an ad-hoc request waits for its backup.
	RequestTTL = 24 * time.Hour

	bucketPrefix   = "confhaul-"
	hostKeyHistory = 5 // so that an accepted change can be looked into
)

// The buckets that nobody watches.
const (
	bucketHostKeys  backup.Bucket = "hostkeys"
	bucketInventory backup.Bucket = "inventory"

	inventoryKey = "current"
)

// buckets lists what Open makes.
func buckets(replicas int) []jetstream.KeyValueConfig {
	cfg := func(b backup.Bucket) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{Bucket: bucketPrefix + string(b), Storage: jetstream.FileStorage, Replicas: max(replicas, 1), History: 1}
	}
	hostKeys, requests := cfg(bucketHostKeys), cfg(backup.BucketRequests)
	hostKeys.History = hostKeyHistory
	requests.TTL = RequestTTL
	return []jetstream.KeyValueConfig{
		cfg(backup.BucketDevices), hostKeys, cfg(backup.BucketState), cfg(backup.BucketSites), requests, cfg(backup.BucketCredentials), cfg(bucketInventory),
	}
}

// Options are the Store's figures.
type Options struct {
	Replicas int         // of buckets that Open makes; 0: 1
	Existing bool        // Open makes none: a bucket that is missing is an error
	Report   func(error) // hears of unreadable records and of interrupted watches; may be nil; must not block
}

// Store reads and writes the records. It is safe for concurrent use. Every error is a fault.Infrastructure; a record that
// is not there is none.
type Store struct {
	conn   *natsio.Conn
	kv     map[backup.Bucket]jetstream.KeyValue
	report func(error)
}

// Open makes the buckets that are missing, unless it may not, and leaves those that are there as they are.
func Open(ctx context.Context, conn *natsio.Conn, o Options) (*Store, error) {
	s := &Store{conn: conn, kv: map[backup.Bucket]jetstream.KeyValue{}, report: o.Report}
	if s.report == nil {
		s.report = func(error) {}
	}
	for _, cfg := range buckets(o.Replicas) {
		var kv jetstream.KeyValue
		err := natsio.Do(ctx, OperationTimeout, "open state", func(ctx context.Context) (err error) {
			kv, err = openBucket(ctx, conn.JetStream(), cfg, o.Existing)
			return err
		})
		if err != nil {
			return nil, natsio.Fail("open state", fmt.Errorf("bucket %s: %w", cfg.Bucket, err))
		}
		s.kv[backup.Bucket(cfg.Bucket[len(bucketPrefix):])] = kv
	}
	return s, nil
}

func openBucket(ctx context.Context, js jetstream.JetStream, cfg jetstream.KeyValueConfig, existing bool) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, cfg.Bucket)
	switch {
	case !errors.Is(err, jetstream.ErrBucketNotFound):
		return kv, err
	case existing:
		return nil, fmt.Errorf("start a scheduler, which makes it: %w", err)
	}
	kv, err = js.CreateKeyValue(ctx, cfg)
	if errors.Is(err, jetstream.ErrBucketExists) { // another process was quicker
		return js.KeyValue(ctx, cfg.Bucket)
	}
	return kv, err
}

// read decodes a record into out, where out is not nil; revision 0 means that there is none.
func (s *Store) read(ctx context.Context, b backup.Bucket, key string, out any) (uint64, error) {
	step := "read " + string(b)
	var entry jetstream.KeyValueEntry
	err := natsio.Do(ctx, OperationTimeout, step, func(ctx context.Context) (err error) {
		entry, err = s.kv[b].Get(ctx, key)
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, natsio.Fail(step, err)
	}
	if out == nil {
		return entry.Revision(), nil
	}
	if err := json.Unmarshal(entry.Value(), out); err != nil {
		return 0, fault.New(fault.Infrastructure, step, "the record %s is unreadable: %w", key, err)
	}
	return entry.Revision(), nil
}

// swap writes a record whose revision is still the given one; 0 means that there must be none. A repeat of a write whose
// answer was lost gives the revision of the first: the record is then already the wanted one.
func (s *Store) swap(ctx context.Context, b backup.Bucket, key string, record any, revision uint64) (uint64, error) {
	step := "write " + string(b)
	data, err := json.Marshal(record)
	if err != nil {
		return 0, fault.New(fault.Internal, step, "encode %s: %w", key, err)
	}
	var next uint64
	err = natsio.Do(ctx, OperationTimeout, step, func(ctx context.Context) (err error) {
		if next, err = swapOnce(ctx, s.kv[b], key, data, revision); !conflict(err) {
			return err
		}
		entry, rerr := s.kv[b].Get(ctx, key)
		switch {
		case rerr == nil && entry.Revision() > revision && bytes.Equal(entry.Value(), data):
			next = entry.Revision()
			return nil
		case rerr == nil, errors.Is(rerr, jetstream.ErrKeyNotFound):
			return backup.ErrConflict
		}
		return rerr
	})
	return next, natsio.Fail(step, err)
}

func swapOnce(ctx context.Context, kv jetstream.KeyValue, key string, data []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		return kv.Create(ctx, key, data)
	}
	return kv.Update(ctx, key, data, revision)
}

// conflict says whether a compare-and-set lost; a replicated bucket says so in another way than a single one.
func conflict(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) ||
		ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// put writes a record whatever was there.
func (s *Store) put(ctx context.Context, b backup.Bucket, key string, record any) (uint64, error) {
	step := "write " + string(b)
	data, err := json.Marshal(record)
	if err != nil {
		return 0, fault.New(fault.Internal, step, "encode %s: %w", key, err)
	}
	var revision uint64
	err = natsio.Do(ctx, OperationTimeout, step, func(ctx context.Context) (err error) {
		revision, err = s.kv[b].Put(ctx, key, data)
		return err
	})
	return revision, natsio.Fail(step, err)
}

// remove deletes a record; revision 0 means whatever was there.
func (s *Store) remove(ctx context.Context, b backup.Bucket, key string, revision uint64) error {
	step := "delete " + string(b)
	err := natsio.Do(ctx, OperationTimeout, step, func(ctx context.Context) error {
		err := s.kv[b].Delete(ctx, key, jetstream.LastRevision(revision))
		if !conflict(err) {
			return err
		}
		if _, rerr := s.kv[b].Get(ctx, key); errors.Is(rerr, jetstream.ErrKeyNotFound) {
			return nil
		}
		return backup.ErrConflict
	})
	return natsio.Fail(step, err)
}

// Sites lists the sites, in no order.
func (s *Store) Sites(ctx context.Context) ([]device.Site, error) {
	var out []device.Site
	err := s.list(ctx, backup.BucketSites, func(c backup.Change) { out = append(out, c.Site) })
	return out, err
}

// Site reads a site; revision 0 means that there is none.
func (s *Store) Site(ctx context.Context, name string) (site device.Site, revision uint64, err error) {
	revision, err = s.read(ctx, backup.BucketSites, device.Encode(name), &site)
	return site, revision, err
}

// PutSite writes a site whose revision is still the given one, 0 for a new one; the error wraps backup.ErrConflict when it
// is not.
func (s *Store) PutSite(ctx context.Context, site device.Site, revision uint64) (uint64, error) {
	return s.swap(ctx, backup.BucketSites, device.Encode(site.Name), site, revision)
}

// Request reads the standing request for a device.
func (s *Store) Request(ctx context.Context, key string) (request backup.Request, found bool, err error) {
	revision, err := s.read(ctx, backup.BucketRequests, key, &request)
	return request, revision > 0, err
}

// PutRequest writes a request over whatever request stood there. It is gone after RequestTTL, of which no watch hears.
func (s *Store) PutRequest(ctx context.Context, key string, request backup.Request) (uint64, error) {
	return s.put(ctx, backup.BucketRequests, key, request)
}

// Inventory reads which inventory is loaded; revision 0 means none.
func (s *Store) Inventory(ctx context.Context) (inventory device.Inventory, revision uint64, err error) {
	revision, err = s.read(ctx, bucketInventory, inventoryKey, &inventory)
	return inventory, revision, err
}

// PutInventory records which inventory is loaded, as PutSite does a site.
func (s *Store) PutInventory(ctx context.Context, inventory device.Inventory, revision uint64) (uint64, error) {
	return s.swap(ctx, bucketInventory, inventoryKey, inventory, revision)
}

// Breaker reads the record of a credential version; revision 0 means that there is none.
func (s *Store) Breaker(ctx context.Context, version string) (breaker backup.Breaker, revision uint64, err error) {
	revision, err = s.read(ctx, backup.BucketCredentials, device.Encode(version), &breaker)
	return breaker, revision, err
}

// PutBreaker writes the record of a credential version, as PutSite does a site.
func (s *Store) PutBreaker(ctx context.Context, version string, breaker backup.Breaker, revision uint64) (uint64, error) {
	return s.swap(ctx, backup.BucketCredentials, device.Encode(version), breaker, revision)
}
