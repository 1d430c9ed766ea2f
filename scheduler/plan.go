package scheduler

import (
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// Timetable is what Plan goes by, beside the device.
type Timetable struct {
	Interval    time.Duration // between two slots of a device that names no interval of its own
	JitterMin   time.Duration // a new device's first slot lies between JitterMin
	JitterMax   time.Duration // and JitterMax after it was first seen
	RedialDelay time.Duration // never an automatic dial within this of the last one
}

// Plan is a device's next run. The zero Plan means that none is due until something changes.
type Plan struct {
	At     time.Time
	Slot   int64 // due time in unix seconds
	Urgent bool  // somebody waits for it
	Reason backup.Reason
}

// None says whether there is nothing to run.
func (p Plan) None() bool { return p.At.IsZero() }

// Plan is the device's next run as seen at now. request is nil where none is open. It has no memory: what was missed,
// moved or asked for shows in the state alone. Outside the site's windows only requests run.
func (t Timetable) Plan(d device.Device, windows device.Windows, s backup.State, request *backup.Request, now time.Time) Plan {
	if !d.Enabled {
		return Plan{}
	}
	s = s.Believed(now)
	slot := t.slot(d, s, now)
	asked := request != nil && !request.ServedBy(s) && (!s.Blocked() || request.Force)
	switch {
	case s.Running.Live(now) && asked: // its outcome plans the device anew; this is for the case that none comes
		return Plan{At: s.Running.Until, Slot: slot.Unix(), Urgent: true, Reason: backup.ReasonRequest}
	case s.Running.Live(now):
		return planned(opened(d, windows, s.Running.Until), slot)
	case asked:
		at := now
		if s.PutBack > request.Since { // it has been tried since, and a fault of ours stood in the way
			at = latest(now, s.NextAt)
		}
		return Plan{At: at, Slot: slot.Unix(), Urgent: true, Reason: backup.ReasonRequest}
	case s.Blocked():
		return Plan{}
	}
	at := opened(d, windows, slot)
	if wait := at.Sub(slot); wait > 0 && !s.GoodStarted.IsZero() { // it serves all slots until then
		slot = slot.Add(wait - wait%t.interval(d))
		at = opened(d, windows, slot)
	}
	late := now.Sub(at) > t.Lookahead()
	if late {
		at = now.Add(t.spread(d, slot)) // a backlog after downtime does not start all at once
	}
	if late || at.After(slot) {
		next := slot.Add(t.interval(d))
		if next.Sub(at) < t.interval(d)/10 && !s.GoodStarted.IsZero() && windows.Open(next) {
			at, slot = next, next // one run serves the missed slot and the one that is about to come
		}
	}
	return planned(opened(d, windows, latest(at, s.NextAt, s.LastDial.Add(t.RedialDelay))), slot)
}

// planned is the plan of an automatic run; without a time there is none.
func planned(at, slot time.Time) Plan {
	if at.IsZero() {
		return Plan{}
	}
	return Plan{At: at, Slot: slot.Unix(), Reason: backup.ReasonSlot}
}

// windowSpread bounds the time over which what waited for a window starts when it opens.
const windowSpread = 10 * time.Minute

// opened is at where the windows are open then, and else the device's place in the next one: what waits for it starts over
// a quarter of it, and at most over windowSpread. It is the zero time for windows that never open.
func opened(d device.Device, windows device.Windows, at time.Time) time.Time {
	if windows.Open(at) {
		return at
	}
	opens, closes := windows.Next(at)
	if opens.IsZero() {
		return opens
	}
	span := min(closes.Sub(opens)/4, windowSpread)
	return opens.Add(time.Duration(backup.Hash(d.ID+opens.UTC().Format(time.RFC3339)) % uint64(max(span, 1))))
}

// slot is the earliest slot that is not done, and of several missed ones the latest. The first one is a hash of the id
// after the device was first seen; it ends with the first proven export. The others are k*interval + hash mod interval:
// whoever divides the interval gets a timetable that contains the old one.
func (t Timetable) slot(d device.Device, s backup.State, now time.Time) time.Time {
	if s.GoodStarted.IsZero() && s.SettledAt.IsZero() {
		return t.first(d)
	}
	interval := max(int64(t.interval(d)/time.Second), 1)
	offset := int64(backup.Hash(d.ID) % uint64(interval))
	current := (now.Unix()-offset)/interval*interval + offset
	if s.Done(current) {
		current += interval
	}
	return time.Unix(current, 0)
}

func (t Timetable) first(d device.Device) time.Time {
	delay := t.JitterMin
	if span := uint64(t.JitterMax - t.JitterMin); span > 0 {
		delay += time.Duration(backup.Hash(d.ID) % span)
	}
	return d.FirstSeen.Add(delay).Truncate(time.Second)
}

func (t Timetable) interval(d device.Device) time.Duration {
	if d.Interval > 0 {
		return d.Interval
	}
	return t.Interval
}

// Lookahead is how long before its time a task is put into the queue: two minutes, or half a short interval.
func (t Timetable) Lookahead() time.Duration { return min(2*time.Minute, t.Interval/2) }

// window is the time over which a backlog is caught up: a tenth of the interval, and at most the lookahead.
func (t Timetable) window(d device.Device) time.Duration { return min(t.interval(d)/10, t.Lookahead()) }

// spread is the device's place in the window.
func (t Timetable) spread(d device.Device, slot time.Time) time.Duration {
	return time.Duration(backup.Hash(d.ID+slot.UTC().Format(time.RFC3339)) % uint64(max(t.window(d), 1)))
}

func latest(ts ...time.Time) time.Time {
	var out time.Time
	for _, t := range ts {
		if t.After(out) {
			out = t
		}
	}
	return out
}
