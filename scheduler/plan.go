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
// moved or asked for shows in the state alone.
func (t Timetable) Plan(d device.Device, s backup.State, request *backup.Request, now time.Time) Plan {
	if !d.Enabled {
		return Plan{}
	}
	slot := t.slot(d, s, now)
	asked := request != nil && !request.ServedBy(s) && (s.Block == nil || request.Force)
	reason := backup.ReasonSlot
	if asked {
		reason = backup.ReasonRequest
	}
	switch {
	case s.Running.Live(now): // its outcome plans the device anew; this is for the case that none comes
		return Plan{At: s.Running.Until, Slot: slot.Unix(), Urgent: asked, Reason: reason}
	case asked:
		at := now
		if s.PutBack > request.Since { // it has been tried since, and a fault of ours stood in the way
			at = latest(now, s.NextAt)
		}
		return Plan{At: at, Slot: slot.Unix(), Urgent: true, Reason: reason}
	case s.Block != nil:
		return Plan{}
	}
	at := slot
	if late := now.Sub(slot); late > t.Lookahead() {
		at = now.Add(t.spread(d, slot)) // a backlog after downtime does not start all at once
		if next := slot.Add(t.interval(d)); next.Sub(at) < t.interval(d)/10 && !s.GoodStarted.IsZero() {
			at, slot = next, next // one run serves the missed slot and the one that is about to come
		}
	}
	at = latest(at, s.NextAt, s.LastDial.Add(t.RedialDelay))
	return Plan{At: at, Slot: slot.Unix(), Reason: reason}
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
