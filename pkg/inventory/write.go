package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

const (
	writersMax = 16   // records written at once
	batchMax   = 1000 // records between two looks at whether the inventory is still current
	roundsMax  = 3    // of writing and comparing in one Refresh
)

// errOvertaken says that the current inventory changed while we wrote: another one came, or another replica finished this.
var errOvertaken = errors.New("the current inventory changed")

// finish writes the difference until there is none, and then marks the inventory as applied. Comparing again after the
// writing mends what a replica with the inventory before this one wrote in between.
func (a *Applier) finish(ctx context.Context, current device.Inventory, revision uint64) (Report, error) {
	report := Report{Generation: current.Generation}
	for range roundsMax {
		devices, err := a.reg.Devices(ctx)
		if err != nil {
			return report, fmt.Errorf("apply inventory: %w", err)
		}
		diff := Compare(devices, a.file.Devices)
		if diff.Empty() {
			current.Applied = true
			_, err := a.reg.PutInventory(ctx, current, revision)
			if err != nil && !errors.Is(err, backup.ErrConflict) { // on a conflict another one is current, or did the same
				return report, fmt.Errorf("apply inventory: %w", err)
			}
			report.Applied = err == nil
			return report, nil
		}
		pending, err := a.write(ctx, diff, revision)
		if errors.Is(err, errOvertaken) {
			return report, nil // the next Refresh sees what is current now
		}
		if err != nil {
			return report, fmt.Errorf("apply inventory: %w", err)
		}
		report.Added += len(diff.Added)
		report.Changed += len(diff.Changed)
		report.Removed += len(diff.Removed)
		report.Moved += len(diff.Moved) - pending
		report.Pending = pending
		if pending > 0 {
			return report, nil
		}
	}
	return report, nil // somebody writes against us: the next Refresh goes on
}

// write carries the diff out and returns how many moves must wait for a session to end.
func (a *Applier) write(ctx context.Context, diff Diff, revision uint64) (pending int, err error) {
	var waiting atomic.Int64
	for batch := range slices.Chunk(a.steps(diff, &waiting), batchMax) {
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(writersMax)
		for _, step := range batch {
			group.Go(func() error { return step(groupCtx) })
		}
		if err := group.Wait(); err != nil {
			return 0, err
		}
		_, now, err := a.reg.Inventory(ctx)
		if err != nil {
			return 0, err
		}
		if now != revision {
			return 0, errOvertaken
		}
	}
	return int(waiting.Load()), nil
}

// steps are the writes of a diff, each safe to repeat.
func (a *Applier) steps(diff Diff, waiting *atomic.Int64) []func(context.Context) error {
	var steps []func(context.Context) error
	add := func(d device.Device, write func(context.Context) error) {
		steps = append(steps, func(ctx context.Context) error {
			if err := write(ctx); err != nil {
				return fmt.Errorf("device %s: %w", d.ID, err)
			}
			return nil
		})
	}
	for _, m := range diff.Moved {
		add(m.To, func(ctx context.Context) error {
			err := a.reg.MoveDevice(ctx, m.From.Key(), m.To)
			if errors.Is(err, backup.ErrConflict) {
				waiting.Add(1)
				return nil
			}
			return err
		})
	}
	for _, d := range diff.Removed {
		add(d, func(ctx context.Context) error { return a.reg.DeleteDevice(ctx, d.Key()) })
	}
	for _, d := range diff.Changed {
		add(d, func(ctx context.Context) error { return a.reg.PutDevice(ctx, d) })
	}
	seen := a.now()
	for _, d := range diff.Added {
		d.FirstSeen = seen
		add(d, func(ctx context.Context) error { return a.reg.PutDevice(ctx, d) })
	}
	return steps
}
