// Package chaos holds the promise of the queue against real processes: it runs schedulers, workers, Redis and NATS beside a
// simulated fleet, kills and stops them from a seeded plan, and then judges by what the routers saw, what stands on the
// streams and what the state store says. The plan and the judges are pure; run.go and what it calls has the effects.
package chaos

import (
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// What confhaul promises in figures. They stand here once more, because who judges must not ask the judged.
const (
	MarkTTL      = 60 * time.Second // a running mark counts for this long after its last renewal
	MarkInterval = 20 * time.Second // an open session renews its mark this often
	NoticeDelay  = 20 * time.Second // sessions that Redis has forgotten notice within this
	PutBackDelay = 30 * time.Second // after an attempt that a fault of ours ended
	EarlyMax     = 2 * time.Second  // a dial may come this much before its time: clocks differ
	// LeaseRecovery is how long a killed worker's tasks may wait for another try: a lease of 30 s, 25 s of slack, 5 s until
	// a worker looks, and 30 s from then.
	LeaseRecovery = 100 * time.Second
	// closeSlack is what a router may need to notice that its client has closed the connection.
	closeSlack = 250 * time.Millisecond
	// outcomeSlack is what a worker needs to write an outcome, and what lies between its mark and its dial.
	outcomeSlack = 2 * time.Second
)

// Sort is what a router of the lab is like.
type Sort string

// The sorts.
const (
	Healthy  Sort = "healthy"
	Refusing Sort = "refusing" // its credential is wrong
	Failing  Sort = "failing"  // silent, or its exports are never whole
)

// Device is a router of the lab.
type Device struct {
	ID, Site string
	Sort     Sort
}

// Fault is what was done to a process, as it happened.
type Fault struct {
	Act      Act
	Role     Role
	Index    int
	From, To time.Time // of the outage: to the restart, or to the SIGCONT
}

// Empties says whether Redis lost everything.
func (f Fault) Empties() bool { return f.Act == Flush || f.Act == Kill && f.Role == Redis }

// Session is a connection as its router saw it, and how its bytes came.
type Session struct {
	routersim.Session
	Growth []Growth // each time that a sample found more bytes
}

// Growth is the number of bytes that a sample found.
type Growth struct {
	At    time.Time
	Bytes int64
}

// end is when the session closed, or a time after everything while it is open.
func (s Session) end(last time.Time) time.Time {
	if s.Open {
		return last.Add(time.Hour)
	}
	return s.To
}

// grewAfter says whether bytes were carried after t.
func (s Session) grewAfter(t time.Time) bool {
	return len(s.Growth) > 0 && s.Growth[len(s.Growth)-1].At.After(t)
}

// Evidence is all that the judges hear.
type Evidence struct {
	Interval  time.Duration
	SiteLimit int
	Ladder    backup.Ladder
	Devices   []Device
	Faults    []Fault
	Sessions  []Session // in the order in which they began
	Proofs    []Proof
	Messages  []Message // of the streams, each in its stream's order

	Begin  time.Time // of the plan: every healthy device had been backed up by then
	Calm   time.Time // the plan's end: slots up to here are judged
	Finish time.Time // the last look
}

// Proof says that confhaul holds a proven export of the device that began at Started.
type Proof struct {
	Device  string
	Started time.Time
}

// Breach is one broken promise.
type Breach struct {
	Rule   string // as in the ledger
	Device string
	At     time.Time
	What   string
}

// Ledger is the result of a run.
type Ledger struct {
	Seed         uint64         `json:"seed"`
	Kills        map[string]int `json:"kills"` // by what was done: a role that was killed, stop, term, flush
	Devices      int            `json:"devices"`
	Sessions     int            `json:"sessions"`
	Slots        int            `json:"slots"` // due ones of healthy devices
	Lost         int            `json:"lost"`
	LatestMax    float64        `json:"latest_s"` // seconds from a slot to the export that did it, the worst
	Overlapping  int            `json:"overlapping"`
	OverLimit    int            `json:"over_limit"`
	BlockedDials int            `json:"blocked_dials"`
	Repeats      int            `json:"repeats"` // dials to a refusing device whose refusal died with its worker
	Ladder       int            `json:"ladder"`
	Counted      int            `json:"counted"` // failures of healthy devices, in a run of rolling restarts
	Events       int            `json:"events"`
	BrokenEvents int            `json:"broken_events"`
	Died         int            `json:"died"` // processes that ended without having been asked to
}

// Kept says whether every promise was.
func (l Ledger) Kept() bool {
	return l.Lost == 0 && l.Overlapping == 0 && l.OverLimit == 0 && l.BlockedDials == 0 && l.Ladder == 0 && l.Counted == 0 && l.BrokenEvents == 0
}

// Judge holds every promise against the evidence.
func Judge(e Evidence) (Ledger, []Breach) {
	l := Ledger{Kills: map[string]int{}, Devices: len(e.Devices), Sessions: len(e.Sessions), Events: len(e.Messages)}
	for _, f := range e.Faults {
		l.Kills[f.counted()]++
	}
	var all []Breach
	take := func(n *int, found []Breach) {
		*n = len(found)
		all = append(all, found...)
	}
	slots := judgeSlots(e)
	l.Slots, l.LatestMax = slots.due, slots.latest.Round(time.Millisecond).Seconds()
	take(&l.Lost, slots.lost)
	take(&l.Overlapping, Overlaps(e))
	take(&l.OverLimit, OverLimit(e))
	var blocked []Breach
	blocked, l.Repeats = BlockedDials(e)
	take(&l.BlockedDials, blocked)
	take(&l.Ladder, EarlyDials(e))
	take(&l.Counted, Counted(e))
	take(&l.BrokenEvents, BrokenEvents(e))
	return l, all
}

// counted is the word of the ledger.
func (f Fault) counted() string {
	if f.Act == Kill {
		return string(f.Role)
	}
	return string(f.Act)
}

// bySession groups the sessions by device; their order stays.
func (e Evidence) bySession() map[string][]Session {
	out := map[string][]Session{}
	for _, s := range e.Sessions {
		out[s.Device] = append(out[s.Device], s)
	}
	return out
}
