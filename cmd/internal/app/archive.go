package app

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archiver"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

// Archive is the archiver's role, on the directory of the settings. Where another process writes that archive it waits for
// it to end.
func Archive(ctx context.Context, p *Process) error {
	dir := p.Settings.ArchiveDir()
	p.Ready.Set("archive", fmt.Errorf("opening %s", dir))
	store, err := archive.OpenSQLite(ctx, dir, archive.Options{Waiting: func(holder string) {
		p.Log.Warn("another archiver writes this archive: waiting for it to end", "archive", dir, "holder", holder)
		p.Ready.Set("archive", fmt.Errorf("%s writes %s: waiting for it to end", holder, dir))
	}})
	switch {
	case ctx.Err() != nil && err != nil:
		return nil // stopped while it waited
	case err != nil: // neither Redis nor NATS is away
		return fault.New(fault.Internal, "archive", "%w", err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			p.Log.Error("archive not closed", "err", err)
		}
	}()
	p.Ready.Set("archive", nil)
	p.Log.Info("archiver ready", "archive", dir)
	a := archiver.New(archiver.Options{
		Source: p.Stream, Store: store, Publisher: p.Stream, Registry: p.Store, Meter: p.Metrics, Policy: policy(p.Settings.Archive),
		Health: func(err error) { p.Ready.Set("archive", err) }, Log: p.Log,
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { p.watchStreams(ctx); return nil })
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error { p.mirror(ctx, store); return nil })
	return g.Wait()
}

func policy(s settings.Archive) archive.Policy {
	return archive.Policy{Age: s.KeepFor, Versions: s.KeepVersions, Removed: s.KeepRemoved}
}

const streamsInterval = 10 * time.Second // between two looks at how full the streams are

// watchStreams tells when the streams are nearly full, once, and when that is over, and has the metrics show how they are.
func (p *Process) watchStreams(ctx context.Context) {
	if !p.streamsWatched.CompareAndSwap(false, true) { // another role of this process does it
		return
	}
	p.Metrics.ObserveStreams(p.observeStreams)
	tick := time.NewTicker(streamsInterval)
	defer tick.Stop()
	for told := false; ; {
		if b, err := p.Stream.Backlog(ctx); err == nil && b.NearlyFull() != told { // an error is told where NATS is watched
			if told = !told; told {
				p.Log.Warn(FullWords(b))
			} else {
				p.Log.Info("streams have room again", "fill", b.Fill, "large", b.LargeFill)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// FullWords says that the streams are nearly full, and what to do.
func FullWords(b backup.Backlog) string {
	text := fmt.Sprintf("the stream of snapshots is %.0f %% full", 100*max(b.Fill, b.LargeFill))
	if b.LargeFill > b.Fill {
		text = fmt.Sprintf("the store of large snapshots is %.0f %% full", 100*b.LargeFill)
	}
	text += " and refuses new ones when it is full: "
	switch {
	case !b.Archiver:
		return text + "run an archiver, or raise stream.snapshot_bytes"
	case b.Pending > 0:
		return text + fmt.Sprintf("%d of them are not archived yet, the oldest came at %s: see that the archiver runs",
			b.Pending, b.Oldest.UTC().Format(time.RFC3339))
	}
	return text + "all of them are archived: raise stream.snapshot_bytes"
}

// observeStreams is what the metrics show of the streams; false where that cannot be found out.
func (p *Process) observeStreams(ctx context.Context) (telemetry.Streams, bool) {
	b, err := p.Stream.Backlog(ctx)
	if err != nil {
		return telemetry.Streams{}, false
	}
	s := telemetry.Streams{Fill: b.Fill, LargeFill: b.LargeFill, Archiver: b.Archiver, Pending: b.Pending, Events: b.Events}
	if !b.Oldest.IsZero() {
		s.OldestAge = time.Since(b.Oldest)
	}
	return s, true
}
