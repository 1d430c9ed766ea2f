package app

import (
	"context"
	"errors"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/mirror"
	"github.com/confhaul/confhaul/pkg/settings"
)

const (
	mirrorInterval = 15 * time.Second // between two looks for what the mirror has not
	mirrorDelay    = time.Minute      // after a failure
)

// mirror keeps the git mirror up to the archive, where the settings name one. It tells once that this fails, and once that it
// works again; nothing else waits for it.
func (p *Process) mirror(ctx context.Context, store archive.Reader) {
	if p.Settings.Git.Dir == "" {
		return
	}
	m := mirror.New(store, p.Settings.Git.Dir)
	failed, pushed := false, false
	for wait := time.Duration(0); ; wait = mirrorInterval {
		if failed {
			wait = mirrorDelay
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		r, err := m.Update(ctx)
		if r.Commits > 0 {
			pushed = false
			p.Log.Info("git mirror written", "dir", p.Settings.Git.Dir, "commits", r.Commits, "devices", r.Devices)
		}
		if written(err) && !pushed && p.Settings.Git.Remote != "" {
			perr := m.Push(ctx, p.Settings.Git.Remote, false)
			pushed, err = perr == nil, errors.Join(err, perr)
		}
		if ctx.Err() != nil {
			return
		}
		p.Metrics.MirrorFailed(err != nil)
		if err != nil && !failed {
			p.Log.Error("git mirror not up to date: trying again each minute", "err", err)
		} else if err == nil && failed {
			p.Log.Info("git mirror up to date again")
		}
		failed = err != nil
	}
}

// WriteMirror brings the git mirror of the settings up to the archive, or writes it anew, and pushes it where they name a
// remote; one that is written anew goes over what is there.
func WriteMirror(ctx context.Context, s settings.Settings, r archive.Reader, anew bool) (mirror.Report, error) {
	m := mirror.New(r, s.Git.Dir)
	write := m.Update
	if anew {
		write = m.Rebuild
	}
	report, err := write(ctx)
	if written(err) && s.Git.Remote != "" {
		err = errors.Join(err, m.Push(ctx, s.Git.Remote, anew))
	}
	return report, err
}

// written says whether an update wrote what it could: a damaged text is no reason to keep the rest back.
func written(err error) bool { return err == nil || errors.Is(err, archive.ErrDamaged) }
