package app

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/settings"
)

// OpenHistory opens the archive for questions, whether a process writes it or not. The error wraps archive.ErrNone where
// there is none.
func OpenHistory(ctx context.Context, s settings.Settings) (archive.Reader, error) {
	return archive.OpenSQLiteReader(ctx, s.ArchiveDir())
}

// OpenHistoryWriter opens the archive for upkeep. The error wraps archive.ErrLocked where an archiver has it, and
// archive.ErrNone where there is none: one is not made.
func OpenHistoryWriter(ctx context.Context, s settings.Settings) (archive.Store, error) {
	r, err := OpenHistory(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	return archive.OpenSQLite(ctx, s.ArchiveDir(), archive.Options{})
}

// CopyHistory copies the archive into another directory, whether a process writes it or not.
func CopyHistory(ctx context.Context, s settings.Settings, to string) error {
	return archive.CopySQLite(ctx, s.ArchiveDir(), to)
}

// KeptByHistory is what the settings keep of history.
func KeptByHistory(s settings.Settings) archive.Policy { return policy(s.Archive) }

// Fresh says how old the backups of one device are.
type Fresh struct {
	Device   device.Device
	State    backup.State
	Proven   time.Time // when the last proven export began; zero: there was none yet
	Archived time.Time // the last one whose text is in the archive; zero: none, or the archive is not at hand
}

// Since is when the age of the backups counts from: the last proven one, or the time at which the device was first seen.
func (f Fresh) Since() time.Time {
	if f.Proven.IsZero() {
		return f.Device.FirstSeen
	}
	return f.Proven
}

// LastArchived reads from the archive when the last proven export whose text it has began, by device id. The error wraps
// archive.ErrNone where there is no archive.
func LastArchived(ctx context.Context, s settings.Settings) (out map[string]time.Time, err error) {
	r, err := OpenHistory(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	all, err := r.Devices(ctx, archive.DeviceQuery{})
	if err != nil {
		return nil, err
	}
	out = make(map[string]time.Time, len(all))
	for i := range all {
		out[all[i].ID] = all[i].Archived
	}
	return out, nil
}

// Freshness lists the enabled devices, oldest backups first. archived is what LastArchived read; nil: not at hand.
func (p *Parts) Freshness(ctx context.Context, archived map[string]time.Time, now time.Time) ([]Fresh, error) {
	devices, err := p.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	states, err := p.Store.States(ctx)
	if err != nil {
		return nil, err
	}
	return freshness(devices, states, archived, now), nil
}

func freshness(devices []device.Device, states map[string]backup.State, archived map[string]time.Time, now time.Time) []Fresh {
	out := make([]Fresh, 0, len(devices))
	for _, d := range devices {
		if d.Enabled {
			out = append(out, NewFresh(d, states[d.Key()], archived[d.ID], now))
		}
	}
	slices.SortFunc(out, Fresh.Compare)
	return out
}

// NewFresh is how old the backups of a device in that state are; archived may be zero.
func NewFresh(d device.Device, s backup.State, archived, now time.Time) Fresh {
	return Fresh{Device: d, State: s, Proven: s.Believed(now).GoodStarted, Archived: archived}
}

// Compare puts the oldest backups first.
func (f Fresh) Compare(o Fresh) int {
	return cmp.Or(f.Since().Compare(o.Since()), cmp.Compare(f.Device.ID, o.Device.ID))
}
