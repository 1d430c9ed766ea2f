package inventory

import (
	"slices"

	"github.com/confhaul/confhaul/pkg/device"
)

// noJump in the column jump undoes an inherited one.
const noJump = "none"

// jumps finds the jump hosts of each device. A device names one, which may have one itself.
type jumps struct {
	entries []entry
	devices []device.Device
	ids     map[string]int
	told    map[int]bool // lines with a problem
	p       *problems
}

func (w jumps) resolve() {
	for i := range w.devices {
		w.devices[i].Jumps = w.way(i)
	}
}

// way lists the hosts on the way to device i, the one that is dialled first in front.
func (w jumps) way(i int) []device.Jump {
	var out []device.Jump
	for at := i; ; {
		next, named := w.next(at)
		if !named {
			slices.Reverse(out)
			return out
		}
		line := w.entries[at].get(colJump).line
		if next < 0 {
			w.tell(line, "%q is no device of this inventory", w.entries[at].get(colJump).text)
			return nil
		}
		d := w.devices[next]
		switch {
		case next == i, slices.ContainsFunc(out, func(j device.Jump) bool { return j.ID == d.ID }):
			w.tell(line, "%q leads back to %q", d.ID, w.devices[at].ID)
			return nil
		case len(out) == device.JumpsMax:
			w.tell(line, "more than %d jump hosts on the way to %q", device.JumpsMax, w.devices[i].ID)
			return nil
		}
		out = append(out, device.Jump{ID: d.ID, Site: d.Site, Address: d.Address, Port: d.Port, Credential: d.Credential})
		at = next
	}
}

// next is the jump host that device i names, -1 where there is no such device. One that stands in defaults or for a site
// holds neither for the jump host itself nor for those on its own way.
func (w jumps) next(i int) (next int, named bool) {
	next, named = w.named(i)
	if !named || next < 0 || w.entries[i].own(colJump) {
		return next, named
	}
	at, on := next, true
	for range device.JumpsMax { // a longer way is told where it stands
		if !on || at < 0 {
			break
		}
		if at == i {
			return 0, false
		}
		at, on = w.named(at)
	}
	return next, true
}

// named reads what the file says.
func (w jumps) named(i int) (next int, named bool) {
	text := w.entries[i].get(colJump).text
	if text == "" || text == noJump || check(colJump, text) != "" { // what is no id was told where it stands
		return 0, false
	}
	if next, ok := w.ids[text]; ok {
		return next, true
	}
	return -1, true
}

// tell tells of each line once, however many devices it holds for.
func (w jumps) tell(line int, format string, a ...any) {
	if !w.told[line] {
		w.told[line] = true
		w.p.add(line, columnNames[colJump], format, a...)
	}
}
