package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
)

// timetable is what became of the due slots.
type timetable struct {
	due    int
	latest time.Duration
	lost   []Breach
}

// Patience is how long a slot may wait for its export while nothing stands in the way of its device: a killed worker's
// tasks may hold the whole limit of the site for LeaseRecovery, and three intervals are for what piled up behind them.
func Patience(interval time.Duration) time.Duration { return LeaseRecovery + 3*interval }

// judgeSlots finds the slots that were lost. The slots of a device are k*interval + hash mod interval, and due are those
// from the plan's beginning to its end. A slot is done by the first proven export that started at or after it, as the
// state store and the streams tell; an export whose session no router saw counts as a broken event and here too. It is
// lost when Patience has passed without one, or when the run ends without one. The clock of Patience stands still
//   - from the beginning of an outage of Redis or NATS to its end and what confhaul lets pass then: NoticeDelay after Redis
//     was emptied, PutBackDelay for what a fault of ours put back;
//   - for LeaseRecovery after a worker was killed or stopped while the device itself had a session, and PutBackDelay after
//     it was asked to end.
func judgeSlots(e Evidence) timetable {
	proofs := map[string][]time.Time{}
	for _, p := range e.Proofs {
		proofs[p.Device] = append(proofs[p.Device], p.Started)
	}
	sessions := e.bySession()
	var t timetable
	for _, d := range e.Devices {
		if d.Sort != Healthy {
			continue
		}
		starts := proofs[d.ID]
		slices.SortFunc(starts, time.Time.Compare)
		held := e.held(sessions[d.ID])
		for _, slot := range Slots(d.ID, e.Interval, e.Begin, e.Calm) {
			t.due++
			i, _ := slices.BinarySearchFunc(starts, slot, time.Time.Compare)
			end, done := e.Finish, i < len(starts)
			if done {
				end = starts[i]
			}
			t.latest = max(t.latest, end.Sub(slot))
			if free := end.Sub(slot) - covered(held, slot, end); !done || free > Patience(e.Interval) {
				what := fmt.Sprintf("done after %.1f s, of which nothing stood in its way for %.1f s", end.Sub(slot).Seconds(), free.Seconds())
				if !done {
					what = "never done"
				}
				t.lost = append(t.lost, Breach{"lost", d.ID, slot, what})
			}
		}
	}
	return t
}

// Slots are a device's slots from begin to end.
func Slots(id string, interval time.Duration, begin, end time.Time) []time.Time {
	period := int64(interval / time.Second)
	offset := int64(backup.Hash(id) % uint64(period))
	var out []time.Time
	for k := (begin.Unix()-offset)/period*period + offset; k <= end.Unix(); k += period {
		if t := time.Unix(k, 0); !t.Before(begin) {
			out = append(out, t)
		}
	}
	return out
}

// span is a stretch of time.
type span struct{ from, to time.Time }

// held are the times in which faults stood in the way of a device with these sessions.
func (e Evidence) held(sessions []Session) []span {
	var out []span
	for _, f := range e.Faults {
		switch {
		case f.Role == Redis || f.Role == NATS:
			out = append(out, span{f.From, f.To.Add(PutBackDelay)})
		case f.Role != Worker:
		case f.hits(sessions):
			length := LeaseRecovery
			if f.Act == Term {
				length = PutBackDelay
			}
			out = append(out, span{f.From, f.To.Add(length)})
		}
	}
	slices.SortFunc(out, func(a, b span) int { return a.from.Compare(b.from) })
	return out
}

// hits says whether one of the sessions was open when the worker was hit, or near enough for its outcome to be open.
func (f Fault) hits(sessions []Session) bool {
	return slices.ContainsFunc(sessions, func(s Session) bool {
		return s.From.Add(-outcomeSlack).Before(f.From) && (s.Open || s.To.Add(outcomeSlack).After(f.From))
	})
}

// covered is how much of from to end the spans cover together; they are in order.
func covered(spans []span, from, end time.Time) time.Duration {
	sum := time.Duration(0)
	for _, s := range spans {
		begin, stop := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if stop.After(end) {
			stop = end
		}
		if stop.After(begin) {
			sum += stop.Sub(begin)
			from = stop
		}
	}
	return sum
}
