package state

import (
	"context"
	"errors"
	"sync"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// Latest is a Store that answers from memory what nearly every backup asks and hardly anything changes: the sites, the
// credentials' breakers, and that nobody asked for a backup. A watch keeps it up, within milliseconds; before Follow has read
// everything, and while there is no connection, it asks the server as Store does.
type Latest struct {
	*Store

	mu       sync.RWMutex
	ready    bool
	sites    map[string]record[device.Site] // by key
	breakers map[string]record[backup.Breaker]
	requests map[string]uint64 // revisions of those that stand; also of some that have expired
}

type record[T any] struct {
	value    T
	revision uint64
}

// NewLatest makes a Latest, for Follow to fill.
func NewLatest(s *Store) *Latest {
	return &Latest{Store: s, sites: map[string]record[device.Site]{}, breakers: map[string]record[backup.Breaker]{}, requests: map[string]uint64{}}
}

// Follow keeps up with what changes until ctx ends, which is no error. It is called once.
func (l *Latest) Follow(ctx context.Context) error {
	defer l.setReady(false)
	return l.Watch(ctx, l.apply, func() { l.setReady(true) }, backup.BucketSites, backup.BucketRequests, backup.BucketCredentials)
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

// Site is as that of Store.
func (l *Latest) Site(ctx context.Context, name string) (device.Site, uint64, error) {
	l.mu.RLock()
	r, fresh := l.sites[device.Encode(name)], l.fresh()
	l.mu.RUnlock()
	if fresh {
		return r.value, r.revision, nil
	}
	return l.Store.Site(ctx, name)
}

// Request is as that of Store. asked says that there must be one: memory, which may be a moment behind, does not deny it.
func (l *Latest) Request(ctx context.Context, key string, asked bool) (backup.Request, bool, error) {
	l.mu.RLock()
	none := !asked && l.requests[key] == 0 && l.fresh()
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
