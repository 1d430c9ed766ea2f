package inventory

import "github.com/confhaul/confhaul/pkg/device"

// Limits of what one reload may remove without being asked twice: a file is refused when it is over both.
const (
	RemovalsMax        = 10
	RemovalsMaxPercent = 20
)

// Diff is what turns the registry into the file.
type Diff struct {
	Added, Changed, Removed []device.Device
	Moved                   []Move
}

// Move is a device that changed its site, and so its key.
type Move struct{ From, To device.Device }

// Compare finds the difference, by device id. FirstSeen is the registry's, and does not count as a difference. Where a move
// was cut short the registry has a device under two keys: moving it again finishes it.
func Compare(registry, file []device.Device) Diff {
	wanted := make(map[string]device.Device, len(file))
	for _, d := range file {
		wanted[d.ID] = d
	}
	var diff Diff
	registered := make(map[string]bool, len(registry))
	for _, old := range registry {
		registered[old.ID] = true
		d, keep := wanted[old.ID]
		d.FirstSeen = old.FirstSeen
		switch {
		case !keep:
			diff.Removed = append(diff.Removed, old)
		case d.Site != old.Site:
			diff.Moved = append(diff.Moved, Move{From: old, To: d})
		case !d.Equal(old):
			diff.Changed = append(diff.Changed, d)
		}
	}
	for _, d := range file {
		if !registered[d.ID] {
			diff.Added = append(diff.Added, d)
		}
	}
	return diff
}

// Empty says whether there is nothing to do.
func (d Diff) Empty() bool { return len(d.Added)+len(d.Changed)+len(d.Removed)+len(d.Moved) == 0 }

// TooManyRemovals says whether the diff takes more than RemovalsMax devices and more than RemovalsMaxPercent of those
// registered: rather a broken file than a decision.
func (d Diff) TooManyRemovals(registered int) bool {
	n := len(d.Removed)
	return n > RemovalsMax && n*100 > registered*RemovalsMaxPercent
}
