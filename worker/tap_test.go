package worker

import (
	"context"
	"errors"
	"sync"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/state"
	"github.com/confhaul/confhaul/pkg/stream"
)

// tapped is the real store behind a switch: put stands in for PutState, and write is the real one.
type tapped struct {
	*state.Latest
	put func(s backup.State, write func() (uint64, error)) (uint64, error)
}

func (t tapped) PutState(ctx context.Context, key string, s backup.State, revision uint64) (uint64, error) {
	return t.put(s, func() (uint64, error) { return t.Store.PutState(ctx, key, s, revision) })
}

// tapStore puts a switch before every write of a state.
func (h *house) tapStore(put func(s backup.State, write func() (uint64, error)) (uint64, error)) func(*Options) {
	return func(o *Options) { o.Store = tapped{state.NewLatest(h.store), put} }
}

// atOutcome calls before once, before the worker's first write of an outcome.
func (h *house) atOutcome(before func()) func(*Options) {
	before = sync.OnceFunc(before)
	return h.tapStore(func(s backup.State, write func() (uint64, error)) (uint64, error) {
		if s.Running == nil {
			before()
		}
		return write()
	})
}

// tappedStream is the real stream behind a switch: publish stands in for PublishSnapshot, and write is the real one.
type tappedStream struct {
	*stream.Stream
	publish func(ctx context.Context, write func() (uint64, error)) (uint64, error)
}

func (t tappedStream) PublishSnapshot(ctx context.Context, s backup.Snapshot, raw []byte, expected uint64) (uint64, error) {
	return t.publish(ctx, func() (uint64, error) { return t.Stream.PublishSnapshot(ctx, s, raw, expected) })
}

// tapStream puts a switch before every publishing of a snapshot.
func (h *house) tapStream(publish func(ctx context.Context, write func() (uint64, error)) (uint64, error)) func(*Options) {
	return func(o *Options) { o.Publisher = tappedStream{h.stream, publish} }
}

// errDown is what a tool of ours says when its server is away.
var errDown = fault.New(fault.Infrastructure, "test", "%w", errors.New("the server is away"))

// noEvents is the stream with the events' half away.
type noEvents struct{ Publisher }

func (noEvents) PublishEvent(context.Context, backup.Event) error { return errDown }
