package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/settings"
)

// changesSince is how far back the dashboard looks for changes when it starts.
const changesSince = 24 * time.Hour

// pages builds the dashboard's pages, and gives what keeps them true until its context ends.
func (p *Process) pages(monitor http.Handler) (handler http.Handler, follow func(context.Context) error) {
	fleet := dashboard.NewFleet(p.Settings.Interval)
	past := newPageHistory(p.Settings)
	handler = dashboard.New(dashboard.Options{
		Fleet: fleet, Queues: p.Queue, History: past, Operations: operations{p.Parts}, Auditor: auditor{p}, Connected: p.Conn.Connected,
		SiteLimit: p.Settings.SiteLimit, Monitor: monitor, Log: p.Log,
	})
	return handler, func(ctx context.Context) error {
		defer past.close()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			return p.Store.Watch(ctx, fleet.Apply, fleet.Ready,
				backup.BucketDevices, backup.BucketState, backup.BucketSites, backup.BucketRequests, backup.BucketCredentials)
		})
		g.Go(func() error { return p.Stream.WatchDiffs(ctx, time.Now().Add(-changesSince), fleet.Changed) })
		return g.Wait()
	}
}

// operations is what operators can have done through the dashboard: what the commands do.
type operations struct{ *Parts }

func (o operations) Backup(ctx context.Context, d device.Device, by string) error {
	var refused error
	err := o.Ask(ctx, NewAsks(), []device.Device{d}, How{By: by}, func(a Asked) { refused = a.Error })
	return errors.Join(err, refused)
}

func (o operations) Unblock(ctx context.Context, d device.Device) error {
	_, err := o.Lift(ctx, d.Key(), func(backup.Block) bool { return true })
	return err
}

func (o operations) PauseSite(ctx context.Context, site, reason, by string) error {
	pause := &device.Pause{At: time.Now().UTC(), By: by, Reason: reason}
	return o.AmendSite(ctx, site, func(s *device.Site) { s.Paused = pause })
}

func (o operations) ResumeSite(ctx context.Context, site string) error {
	return o.AmendSite(ctx, site, func(s *device.Site) { s.Paused = nil })
}

func (o operations) ResumeCredential(ctx context.Context, name string) error {
	_, err := o.Parts.ResumeCredential(ctx, name)
	return err
}

const (
	knownMax       = 4096             // comparisons that are remembered, a few hundred bytes each
	pageContext    = 3                // equal lines around a change
	comparisonsMax = 2                // made at once: of texts of 16 MB each takes some hundred MB
	turnTimeout    = 10 * time.Second // of waiting for one
)

// comparisonKey is what a comparison is of: versions may be numbered anew, digests stay.
type comparisonKey struct{ device, digest, previous string }

// pageHistory answers the dashboard from the archive, which it opens when it is first asked and there is one.
type pageHistory struct {
	settings  settings.Settings
	comparing chan struct{} // holds one for each comparison that is being made

	mu     sync.Mutex
	reader archive.Reader
	known  map[comparisonKey]dashboard.Version // compared before: an open page asks every few seconds
}

func newPageHistory(s settings.Settings) *pageHistory {
	return &pageHistory{settings: s, comparing: make(chan struct{}, comparisonsMax), known: map[comparisonKey]dashboard.Version{}}
}

var errNoTurn = fault.New(fault.Infrastructure, "compare", "other versions are being compared, for %s by now: try again", turnTimeout)

// turn waits until a comparison may begin: whoever may look must not take all of the memory.
func (h *pageHistory) turn(ctx context.Context) (end func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, turnTimeout, errNoTurn)
	defer cancel()
	select {
	case h.comparing <- struct{}{}:
		return func() { <-h.comparing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *pageHistory) open(ctx context.Context) (archive.Reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader != nil {
		return h.reader, nil
	}
	r, err := OpenHistory(ctx, h.settings)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dashboard.ErrNoHistory, err)
	}
	h.reader = r
	return r, nil
}

func (h *pageHistory) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader != nil {
		_ = h.reader.Close() // nothing was written
	}
}

// Versions is as dashboard.History has it.
func (h *pageHistory) Versions(ctx context.Context, id string, limit int) ([]dashboard.Version, error) {
	r, err := h.open(ctx)
	if err != nil {
		return nil, err
	}
	versions, err := r.Versions(ctx, id, 0, limit+1) // the one more is what the last is compared with
	if errors.Is(err, archive.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, texts := []dashboard.Version{}, NewTexts(r)
	for i := range versions[:min(limit, len(versions))] {
		v, err := h.version(ctx, texts, versions[i], i+1 < len(versions))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// version is a version with what it changed in the one before, which is kept or not.
func (h *pageHistory) version(ctx context.Context, texts *Texts, v archive.Version, before bool) (dashboard.Version, error) {
	key := comparisonKey{v.Device, v.Digest, v.Previous}
	h.mu.Lock()
	known, ok := h.known[key]
	h.mu.Unlock()
	if ok {
		c := viewOf(v, before)
		c.Added, c.Removed, c.Summary = known.Added, known.Removed, known.Summary
		return c, nil
	}
	end, err := h.turn(ctx)
	if err != nil {
		return dashboard.Version{}, err
	}
	defer end()
	c, err := texts.Compare(ctx, v, before)
	if err != nil {
		return dashboard.Version{}, err
	}
	out := viewOf(v, before)
	out.Added, out.Removed, out.Summary = c.Added, c.Removed, c.Summary
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.known) >= knownMax {
		clear(h.known)
	}
	h.known[key] = out
	return out, nil
}

func viewOf(v archive.Version, before bool) dashboard.Version {
	return dashboard.Version{Number: v.Number, Previous: before, First: v.FirstSeen, Last: v.LastSeen, RouterOS: v.RouterOS, Size: v.Size}
}

// Diff is as dashboard.History has it.
func (h *pageHistory) Diff(ctx context.Context, id string, from, to int, secrets bool) (dashboard.Diff, error) {
	r, err := h.open(ctx)
	if err != nil {
		return dashboard.Diff{}, err
	}
	end, err := h.turn(ctx)
	if err != nil {
		return dashboard.Diff{}, err
	}
	defer end()
	a, old, err := r.Normal(ctx, id, archive.Which{Number: from})
	if err != nil {
		return dashboard.Diff{}, err
	}
	b, new, err := r.Normal(ctx, id, archive.Which{Number: to})
	if err != nil {
		return dashboard.Diff{}, err
	}
	unified := routeros.UnifiedRedacted
	if secrets {
		unified = routeros.Unified
	}
	name := func(v archive.Version) string {
		return fmt.Sprintf("%s @%d %sZ", v.Device, v.Number, v.FirstSeen.UTC().Format(time.DateTime))
	}
	c := archive.Compare(a, b, old, new)
	d := dashboard.Diff{From: viewOf(a, true), To: viewOf(b, true), Text: unified(old, new, name(a), name(b), pageContext)}
	d.To.Added, d.To.Removed, d.To.Summary = c.Added, c.Removed, c.Summary
	return d, nil
}
