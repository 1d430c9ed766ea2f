package chaos

import (
	"math/rand/v2"
	"time"
)

// Act is what is done to a process.
type Act string

// The acts.
const (
	Kill  Act = "kill"  // SIGKILL, and started again later
	Stop  Act = "stop"  // SIGSTOP, and SIGCONT later
	Term  Act = "term"  // SIGTERM, and started again when it has ended
	Flush Act = "flush" // FLUSHALL
)

// Role is what a process is.
type Role string

// The roles.
const (
	Worker    Role = "worker"
	Scheduler Role = "scheduler"
	Redis     Role = "redis"
	NATS      Role = "nats"
)

// Step is one fault of a plan.
type Step struct {
	At    time.Duration // from the plan's beginning
	Act   Act
	Role  Role
	Index int
	For   time.Duration // from the kill to the restart, or from SIGSTOP to SIGCONT; of Term what it may take
}

func (s Step) end() time.Duration { return s.At + s.For }
func (s Step) empties() bool      { return s.Act == Flush || s.Act == Kill && s.Role == Redis }

// orphans says whether tasks in work may stand in the name of a worker that does not work.
func (s Step) orphans() bool {
	return s.Role == Worker && (s.Act == Kill || s.Act == Stop && s.For >= 30*time.Second)
}

const (
	restBetween  = 2 * time.Second  // from a process's return to its next fault
	restEmptied  = 30 * time.Second // between two times that Redis is emptied: nothing is handed out for NoticeDelay after each
	forgetting   = 32 * time.Second
	restOrphaned = 20 * time.Second // between two workers that leave tasks behind: they count towards the limit of their sites
	grace        = 10 * time.Second // the processes' own, on SIGTERM
)

// Plan makes the faults of a run, the same for the same arguments. Each sort of fault comes once before any comes by
// chance, as far as the length has room for it; what betrays a missing lock comes first. No fault outlasts the plan.
func Plan(seed uint64, length time.Duration, schedulers, workers int) []Step {
	p := planner{rng: chance(seed, 0), length: length, schedulers: schedulers, workers: workers}
	owed := p.sorts()
	for _, part := range [][]Step{owed[:killings], owed[killings:]} { // a short plan has all that kill, before what stops
		p.rng.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	for at := p.forget(p.between(time.Second, 3*time.Second)); at < length; at += p.between(time.Second, 3*time.Second) {
		paid := false
		for i, s := range owed {
			if paid = p.add(at, s); paid {
				owed = append(owed[:i], owed[i+1:]...)
				break
			}
		}
		for try := 0; !paid && try < 10; try++ {
			all := p.sorts()
			paid = p.add(at, all[p.rng.IntN(len(all))])
		}
	}
	return p.steps
}

const (
	restartsApart = 4 * time.Second // more than a restart takes under load, less than a session may last
	restartFor    = grace + restBetween
)

// Rolling restarts all workers in turn, so many rounds, with room for the last to end.
func Rolling(rounds, workers int) (steps []Step, length time.Duration) {
	for i := range rounds * workers {
		steps = append(steps, Step{At: length, Act: Term, Role: Worker, Index: i % workers, For: restartFor})
		length += max(restartsApart, restartFor/time.Duration(workers)) // none is asked twice at once
	}
	return steps, length + restartFor
}

// forget stops all workers but one, empties Redis, and lets them stand for longer than it takes until tasks are handed out
// again: their open sessions are then known to their running marks alone. Nothing else happens meanwhile, or that would take
// longer, but to the first scheduler. It returns when the next fault may come.
func (p *planner) forget(at time.Duration) time.Duration {
	if at+forgetting > p.length {
		return at
	}
	for i := range p.workers - 1 {
		p.steps = append(p.steps, Step{At: at, Act: Stop, Role: Worker, Index: i, For: forgetting})
	}
	p.add(at+restBetween, Step{Act: Flush, Role: Redis})
	if p.schedulers > 1 {
		p.add(at+2*restBetween, Step{Act: Kill, Role: Scheduler, For: restBetween})
		p.add(at+5*restBetween, Step{Act: Stop, Role: Scheduler, For: NoticeDelay})
	}
	return at + forgetting
}

// chance is a row of random numbers, the same for the same seed and number of the row.
func chance(seed, row uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, row)) //nolint:gosec // a run must be repeatable
}

type planner struct {
	rng                 *rand.Rand
	length              time.Duration
	schedulers, workers int
	steps               []Step
}

// killings is how many of the sorts end a process that the plan starts again.
const killings = 5

// sorts are one fault of each sort, killings first.
func (p *planner) sorts() []Step {
	stops := []time.Duration{3 * time.Second, 8 * time.Second, 20 * time.Second, 40 * time.Second, 75 * time.Second}
	w, s := func() int { return p.rng.IntN(p.workers) }, func() int { return p.rng.IntN(p.schedulers) }
	down := func() time.Duration { return p.between(300*time.Millisecond, 4*time.Second) }
	return []Step{
		{Act: Kill, Role: Worker, Index: w(), For: down()},
		{Act: Kill, Role: Scheduler, Index: s(), For: down()},
		{Act: Kill, Role: Redis, For: down()},
		{Act: Kill, Role: NATS, For: down()},
		{Act: Term, Role: Worker, Index: w(), For: grace + restBetween},
		{Act: Flush, Role: Redis},
		{Act: Stop, Role: Worker, Index: w(), For: stops[p.rng.IntN(len(stops))]},
		{Act: Stop, Role: Scheduler, Index: s(), For: p.between(2*time.Second, 30*time.Second)},
		{Act: Stop, Role: Redis, For: p.between(time.Second, 8*time.Second)},
		{Act: Stop, Role: NATS, For: p.between(time.Second, 8*time.Second)},
		{Act: Term, Role: Scheduler, Index: s(), For: grace + restBetween},
	}
}

func (p *planner) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.rng.Int64N(int64(high-low)))
}

// add puts the step into the plan at a time, where it may stand there.
func (p *planner) add(at time.Duration, s Step) bool {
	s.At = at
	if s.end() > p.length {
		return false
	}
	for _, o := range p.steps {
		same := o.Role == s.Role && o.Index == s.Index
		bothStop := o.Role == Worker && s.Role == Worker && o.Act == Stop && s.Act == Stop
		switch {
		case (same || bothStop) && at < o.end()+restBetween,
			o.empties() && s.empties() && at < o.end()+restEmptied,
			o.orphans() && s.orphans() && at < o.At+restOrphaned:
			return false
		}
	}
	p.steps = append(p.steps, s)
	return true
}
