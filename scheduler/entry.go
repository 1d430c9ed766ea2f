package scheduler

import (
	"container/heap"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// entry is what this replica sees of one device.
type entry struct {
	device  device.Device
	known   bool // the device record is there; a state or request alone makes no device
	state   backup.State
	request *backup.Request
	plan    Plan
	gone    bool

	at    time.Time // in the heap: when to ensure
	index int       // in the heap; -1 outside
}

// apply takes one change of the registry in, and plans the device anew.
func (s *Scheduler) apply(c backup.Change) {
	if c.Bucket == backup.BucketSites {
		s.applySite(c)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[c.Key]
	if e == nil {
		e = &entry{index: -1}
		s.entries[c.Key] = e
	}
	switch c.Bucket {
	case backup.BucketDevices:
		if e.known && e.device.Enabled && (c.Deleted || !c.Device.Enabled) {
			s.drops = append(s.drops, c.Key)
		}
		e.device, e.known = c.Device, !c.Deleted
		if e.known {
			s.noticeSite(c.Device.Site)
		}
	case backup.BucketState:
		e.state = c.State // the zero State when deleted
	case backup.BucketRequests:
		e.request = nil
		if !c.Deleted {
			e.request = &c.Request
		}
	}
	s.replan(c.Key, e)
}

// replan puts the device where it belongs after a change.
func (s *Scheduler) replan(key string, e *entry) {
	if e.index >= 0 {
		heap.Remove(&s.due, e.index)
	}
	if !e.known {
		if e.request == nil && e.state.V == 0 {
			e.gone = true
			delete(s.entries, key)
		}
		return
	}
	now := time.Now()
	if e.plan = s.planOf(e, now); !e.plan.None() {
		s.due.put(e, e.plan.At)
	}
}

func (s *Scheduler) planOf(e *entry, now time.Time) Plan {
	if !e.known {
		return Plan{}
	}
	request := e.request
	if request != nil && now.Sub(request.At) > requestTTL {
		request = nil // the store forgets it without a word
	}
	return s.o.Timetable.Plan(e.device, s.sites[e.device.Site].Windows, e.state, request, now)
}

func (s *Scheduler) applySite(c backup.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Deleted {
		return // a site with devices is written again; one without costs nothing
	}
	old := s.sites[c.Site.Name]
	s.sites[c.Site.Name] = c.Site
	if old.Windows.String() == c.Site.Windows.String() {
		return
	}
	for key, e := range s.entries {
		if e.known && e.device.Site == c.Site.Name {
			s.replan(key, e)
		}
	}
}

// noticeSite lists a site that no record knows yet; keepLimits writes the record with the limit.
func (s *Scheduler) noticeSite(name string) {
	if _, known := s.sites[name]; !known {
		s.sites[name] = device.Site{Name: name}
	}
}

// Fleet is what this replica sees of all enabled devices, for metrics.
type Fleet struct {
	Ages          []time.Duration // since the last proven backup began, one per device that has one
	Never         int             // devices without a proven backup
	OldestOverdue time.Duration   // of the devices that are due, and neither blocked nor at a paused site
	ByStatus      map[backup.Status]int
	Blocked       map[fault.Kind]int // blocked devices by why
	Stale         int                // devices without a recent proven backup, as backup.StaleAfter has it
	Sites         []string
	Held          []string // sites that are paused or whose window is closed: their tasks wait
}

// Fleet counts at the time of the call.
func (s *Scheduler) Fleet(now time.Time) Fleet {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := Fleet{ByStatus: map[backup.Status]int{}, Blocked: map[fault.Kind]int{}}
	for name, site := range s.sites {
		f.Sites = append(f.Sites, name)
		if site.Paused != nil || !site.Windows.Open(now) {
			f.Held = append(f.Held, name)
		}
	}
	for _, e := range s.entries {
		if !e.known || !e.device.Enabled {
			continue
		}
		f.ByStatus[e.state.Status()]++
		if e.state.GoodStarted.IsZero() {
			f.Never++
		} else {
			f.Ages = append(f.Ages, now.Sub(e.state.GoodStarted))
		}
		if s.stale(e, now) {
			f.Stale++
		}
		if e.state.Block != nil {
			f.Blocked[e.state.Block.Kind]++
		}
		if e.state.Block == nil && !e.plan.None() && s.sites[e.device.Site].Paused == nil {
			f.OldestOverdue = max(f.OldestOverdue, now.Sub(s.expected(e)))
		}
	}
	return f
}

func (s *Scheduler) stale(e *entry, now time.Time) bool {
	since := e.state.GoodStarted
	if since.After(now) { // a clock that is off wrote it; the whole copy is made for such a one only
		since = e.state.Believed(now).GoodStarted
	}
	if since.IsZero() {
		since = e.device.FirstSeen
	}
	return now.Sub(since) > backup.StaleAfter(e.device.Interval, s.o.Timetable.Interval)
}

// expected is when a device's run is due: one that waits on the ladder or for a window is not late.
func (s *Scheduler) expected(e *entry) time.Time {
	return latest(opened(e.device, s.sites[e.device.Site].Windows, time.Unix(e.plan.Slot, 0)), e.state.NextAt)
}

// dueHeap orders devices by the time of their next ensure.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap; use put.
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap; use popUntil.
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h, e.index = old[:len(old)-1], -1
	return e
}

// put adds the entry, or moves it to another time.
func (h *dueHeap) put(e *entry, at time.Time) {
	e.at = at
	if e.index >= 0 {
		heap.Fix(h, e.index)
		return
	}
	heap.Push(h, e)
}

// popUntil takes out all entries due at t.
func (h *dueHeap) popUntil(t time.Time) []*entry {
	var out []*entry
	for len(*h) > 0 && !(*h)[0].at.After(t) {
		out = append(out, heap.Pop(h).(*entry))
	}
	return out
}
