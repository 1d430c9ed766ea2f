package chaos

import (
	"fmt"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/routersim"
)

// Overlaps finds the sessions that began while another one to the same router was open. The open one does not count where
// it is a ghost, or closes within closeSlack.
func Overlaps(e Evidence) []Breach {
	var out []Breach
	for _, list := range e.bySession() {
		for i, s := range list {
			for _, open := range list[:i] {
				if open.end(e.Finish).After(s.From.Add(closeSlack)) && !e.ghost(open, s.From) {
					out = append(out, Breach{"overlapping", s.Device, s.From,
						fmt.Sprintf("a session began while one of %s was open for %s more", clock(open.From), e.more(open, s.From))})
				}
			}
		}
	}
	return sorted(out)
}

func (e Evidence) more(s Session, t time.Time) string {
	if s.Open {
		return "ever"
	}
	return s.To.Sub(t).Round(time.Millisecond).String()
}

// ghost says whether a session that is open at t is the remnant of a stopped worker: the worker was stopped while it was
// open and is so at t or was until a moment ago, its running mark has expired, and it carries no byte from then on.
func (e Evidence) ghost(s Session, t time.Time) bool {
	for _, f := range e.Faults {
		if !f.stopped(s, t) {
			continue
		}
		renewed := s.From.Add(f.From.Sub(s.From).Truncate(MarkInterval)) // the last renewal before the stop
		if expired := renewed.Add(MarkTTL - outcomeSlack); !t.Before(expired) && !s.grewAfter(t) {
			return true
		}
	}
	return false
}

// stopped says whether the fault stopped a worker while the session was open and the worker can hardly be awake at t.
func (f Fault) stopped(s Session, t time.Time) bool {
	return f.Act == Stop && f.Role == Worker && s.From.Before(f.From) && t.After(f.From) && t.Before(f.To.Add(outcomeSlack))
}

// OverLimit finds the sessions that began when their site had as many as it may have. Those of a stopped worker do not
// count once they are ghosts, nor NoticeDelay after Redis was emptied while the worker was stopped: nobody but their routers
// then knows of them.
func OverLimit(e Evidence) []Breach {
	site := map[string]string{}
	for _, d := range e.Devices {
		site[d.ID] = d.Site
	}
	open := map[string][]Session{}
	var out []Breach
	for _, s := range e.Sessions {
		name := site[s.Device]
		open[name] = slices.DeleteFunc(open[name], func(o Session) bool { return o.end(e.Finish).Before(s.From) })
		n, others := 1, ""
		for _, o := range open[name] {
			if o.end(e.Finish).After(s.From.Add(closeSlack)) && !e.ghost(o, s.From) && !e.forgotten(o, s.From) {
				n++
				others += fmt.Sprintf("; %s since %s for %s more", o.Device, clock(o.From), e.more(o, s.From))
			}
		}
		if n > e.SiteLimit {
			out = append(out, Breach{"over_limit", s.Device, s.From, fmt.Sprintf("session %d of site %s, which may have %d%s", n, name, e.SiteLimit, others)})
		}
		open[name] = append(open[name], s)
	}
	return out
}

// forgotten says whether Redis was emptied while the session's worker was stopped.
func (e Evidence) forgotten(s Session, t time.Time) bool {
	for _, f := range e.Faults {
		if !f.stopped(s, t) {
			continue
		}
		for _, emptied := range e.Faults {
			if emptied.Empties() && emptied.To.After(f.From.Add(-NoticeDelay)) && emptied.From.Before(f.To) && !t.Before(emptied.To.Add(NoticeDelay-outcomeSlack)) {
				return true
			}
		}
	}
	return false
}

// BlockedDials finds the dials to a device after it had refused the login, of which there is one credential version in a
// run. A dial repeats, and is counted apart, where the worker that heard the refusal was killed, or stopped for longer than
// its mark lasts, before it can have written it.
func BlockedDials(e Evidence) (breaches []Breach, repeats int) {
	sessions := e.bySession()
	for _, d := range e.Devices {
		if d.Sort != Refusing {
			continue
		}
		var refused []Session
		for _, s := range sessions[d.ID] {
			switch n := len(refused); {
			case n == 0:
			case e.unwritten(refused[n-1]):
				repeats++
			default:
				breaches = append(breaches, Breach{"blocked_dials", d.ID, s.From, "dialled although it refused the login at " + clock(refused[n-1].From)})
			}
			if s.Login == routersim.LoginRefused {
				refused = append(refused, s)
			}
		}
	}
	return breaches, repeats
}

// unwritten says whether the worker that held the session may have lost its outcome. While NATS is away an outcome waits.
func (e Evidence) unwritten(s Session) bool {
	until := s.To.Add(outcomeSlack)
	for _, f := range e.Faults {
		if f.Role == NATS && f.From.Before(until) && f.To.After(s.From) {
			until = later(until, f.To.Add(2*outcomeSlack))
		}
	}
	return slices.ContainsFunc(e.Faults, func(f Fault) bool {
		dies := f.Act == Kill || f.Act == Stop && f.To.Sub(f.From) > MarkTTL-MarkInterval
		return f.Role == Worker && dies && f.From.After(s.From.Add(-outcomeSlack)) && f.From.Before(until)
	})
}

// EarlyDials finds the dials to failing routers that came sooner than the ladder allows: from the end of one session to the
// beginning of the next at least nine tenths of the step for the failures in a row so far, less EarlyMax. A session that a
// fault may have touched may not have been counted; the step after it is the one it would have had, and PutBackDelay at
// most.
func EarlyDials(e Evidence) []Breach {
	sessions := e.bySession()
	var out []Breach
	for _, d := range e.Devices {
		if d.Sort != Failing {
			continue
		}
		failures := 0
		for i, s := range sessions[d.ID] {
			if i > 0 {
				before := sessions[d.ID][i-1]
				step := e.Ladder[min(failures+1, len(e.Ladder))-1]
				if e.touched(before) {
					step = min(step, PutBackDelay)
				} else {
					failures++
				}
				gap := s.From.Sub(before.end(e.Finish))
				if least := step*9/10 - EarlyMax; gap < least {
					out = append(out, Breach{"ladder", d.ID, s.From, fmt.Sprintf("dialled %s after failure %d or later; the step is %s",
						gap.Round(time.Millisecond), failures, step)})
				}
			}
		}
	}
	return out
}

// touched says whether a fault may have had a hand in how the session ended.
func (e Evidence) touched(s Session) bool {
	return slices.ContainsFunc(e.Faults, func(f Fault) bool {
		if f.Role == Scheduler {
			return false
		}
		return f.From.Before(s.end(e.Finish).Add(outcomeSlack)) && f.To.Add(NoticeDelay).After(s.From)
	})
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

func sorted(b []Breach) []Breach {
	slices.SortFunc(b, func(a, b Breach) int { return a.At.Compare(b.At) })
	return b
}
