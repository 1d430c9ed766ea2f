package state

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// Latest is a Store that answers from memory what nearly every backup asks and hardly anything changes: the sites, the
// credentials' breakers, that nobody asked for a backup, and the devices and host keys that it has read before. A watch keeps
// it up, within milliseconds; before Follow has read everything, and while there is no connection, it asks the server as
// Store does.
type Latest struct {
	*Store
	only []string // sites that it keeps up with; none: all

	mu       sync.RWMutex
	ready    bool
	sites    map[string]record[device.Site] // by key
	breakers map[string]record[backup.Breaker]
	requests map[string]uint64 // revisions of those that stand; also of some that have expired
	devices  remembered[device.Device]
	hostKeys remembered[device.HostKey]
}

// rememberedMax bounds the records of a kind that are remembered: some 25 MB of devices. Others are read from the server.
const rememberedMax = 50_000

// remembered are records, by key, that were read and have not changed since.
type remembered[T any] struct {
	records map[string]T
	changes uint64 // that the watch brought
}

func (r *remembered[T]) forget(key string) {
	delete(r.records, key)
	r.changes++
}

func (r *remembered[T]) forgetAll() {
	clear(r.records)
	r.changes++
}

type record[T any] struct {
	value    T
	revision uint64
}

// NewLatest makes a Latest for the named sites, or for all where none is named, for Follow to fill. It reads nothing of other
// sites, and of their devices it knows nothing.
func NewLatest(s *Store, only ...string) *Latest {
	return &Latest{
		Store: s, only: only, sites: map[string]record[device.Site]{}, breakers: map[string]record[backup.Breaker]{}, requests: map[string]uint64{},
		devices: remembered[device.Device]{records: map[string]device.Device{}}, hostKeys: remembered[device.HostKey]{records: map[string]device.HostKey{}},
	}
}

// Follow keeps up with what changes until ctx ends, which is no error. It is called once.
func (l *Latest) Follow(ctx context.Context) error {
	defer l.setReady(false)
	waiting := 0
	caughtUp := func() {
		if waiting--; waiting == 0 {
			l.setReady(true)
		}
	}
	var readers []natsio.Reader
	add := func(keys []string, buckets ...backup.Bucket) {
		waiting++
		readers = append(readers, l.readers(keys, l.apply, caughtUp, buckets...)...)
	}
	add(nil, backup.BucketCredentials) // credentials know no sites
	if len(l.only) == 0 {
		add(nil, backup.BucketDevices, bucketHostKeys, backup.BucketSites, backup.BucketRequests)
	}
	for _, site := range l.only { // a reader for each, so that its one subject can be held against permissions
		add([]string{device.Encode(site)}, backup.BucketSites)
		add([]string{device.Encode(site) + ".*"}, backup.BucketDevices, bucketHostKeys, backup.BucketRequests)
	}
	for i, r := range readers {
		if !slices.Contains([]string{streamOf(backup.BucketDevices), streamOf(bucketHostKeys)}, r.Stream) {
			continue
		}
		readers[i].NewOnly = true
		readers[i].Report = func(err error) { // whatever happened there, nothing of it is missed
			l.mu.Lock()
			l.devices.forgetAll()
			l.hostKeys.forgetAll()
			l.mu.Unlock()
			l.report(err)
		}
	}
	return l.conn.Read(ctx, readers...)
}

func (l *Latest) setReady(ready bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = ready
}

func (l *Latest) apply(c backup.Change) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch c.Bucket {
	case backup.BucketSites:
		keep(l.sites, c, record[device.Site]{c.Site, c.Revision})
	case backup.BucketCredentials:
		keep(l.breakers, c, record[backup.Breaker]{c.Breaker, c.Revision})
	case backup.BucketRequests:
		keep(l.requests, c, c.Revision)
	case backup.BucketDevices:
		l.devices.forget(c.Key)
	case bucketHostKeys:
		l.hostKeys.forget(c.Key)
	}
	return nil
}

func keep[T any](m map[string]T, c backup.Change, value T) {
	if c.Deleted {
		delete(m, c.Key)
	} else {
		m[c.Key] = value
	}
}

// fresh says whether memory may answer; the caller holds the lock.
func (l *Latest) fresh() bool { return l.ready && l.conn.Connected() }

// covers says whether memory knows all of a site.
func (l *Latest) covers(site string) bool { return len(l.only) == 0 || slices.Contains(l.only, site) }

// recall answers from memory, or reads and remembers.
func recall[T any](l *Latest, from *remembered[T], key string, read func() (T, bool, error)) (T, bool, error) {
	l.mu.RLock()
	known, remembers := from.records[key]
	site, _, _ := device.SplitKey(key)
	changes, fresh := from.changes, l.fresh() && l.covers(site)
	l.mu.RUnlock()
	if remembers && fresh {
		return known, true, nil
	}
	value, found, err := read()
	if err == nil && found && fresh {
		l.mu.Lock()
		defer l.mu.Unlock()
		if from.changes == changes && len(from.records) < rememberedMax { // else it may be what was read that changed
			from.records[key] = value
		}
	}
	return value, found, err
}

// Device is as that of Store.
func (l *Latest) Device(ctx context.Context, key string) (device.Device, bool, error) {
	return recall(l, &l.devices, key, func() (device.Device, bool, error) { return l.Store.Device(ctx, key) })
}

// HostKey is as that of Store. anew says that memory is not to be believed: a router showed another key.
func (l *Latest) HostKey(ctx context.Context, key string, anew bool) (device.HostKey, bool, error) {
	read := func() (device.HostKey, bool, error) { return l.Store.HostKey(ctx, key) }
	if anew {
		return read()
	}
	return recall(l, &l.hostKeys, key, read)
}

// Site is as that of Store.
func (l *Latest) Site(ctx context.Context, name string) (device.Site, uint64, error) {
	l.mu.RLock()
	r, fresh := l.sites[device.Encode(name)], l.fresh() && l.covers(name)
	l.mu.RUnlock()
	if fresh {
		return r.value, r.revision, nil
	}
	return l.Store.Site(ctx, name)
}

// Request is as that of Store. asked says that there must be one: memory, which may be a moment behind, does not deny it.
func (l *Latest) Request(ctx context.Context, key string, asked bool) (backup.Request, bool, error) {
	l.mu.RLock()
	site, _, _ := device.SplitKey(key)
	none := !asked && l.requests[key] == 0 && l.fresh() && l.covers(site)
	l.mu.RUnlock()
	if none {
		return backup.Request{}, false, nil
	}
	return l.Store.Request(ctx, key)
}

// Breaker is as that of Store.
func (l *Latest) Breaker(ctx context.Context, version string) (backup.Breaker, uint64, error) {
	l.mu.RLock()
	r, fresh := l.breakers[device.Encode(version)], l.fresh()
	l.mu.RUnlock()
	if !fresh {
		return l.Store.Breaker(ctx, version)
	}
	return r.value, r.revision, nil
}

// PutBreaker is as that of Store. After it memory has what stands there, so that a caller who lost reads what won.
func (l *Latest) PutBreaker(ctx context.Context, version string, b backup.Breaker, revision uint64) (uint64, error) {
	next, err := l.Store.PutBreaker(ctx, version, b, revision)
	if errors.Is(err, backup.ErrConflict) {
		stands, at, rerr := l.Store.Breaker(ctx, version)
		if rerr != nil {
			return next, rerr
		}
		l.remember(version, stands, at)
	} else if err == nil {
		l.remember(version, b, next)
	}
	return next, err
}

func (l *Latest) remember(version string, b backup.Breaker, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := device.Encode(version)
	switch {
	case revision == 0:
		delete(l.breakers, key)
	case revision > l.breakers[key].revision: // the watch may have been quicker
		l.breakers[key] = record[backup.Breaker]{b, revision}
	}
}
