package chaos

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/routersim"
)

// recorder keeps what was seen in the course of a run. It is safe for concurrent use.
type recorder struct {
	mu       sync.Mutex
	sessions map[sessionKey]*Session
	proofs   map[Proof]bool
	faults   []Fault
	printed  map[string]map[string]bool // by device: every text it may have printed, without comments
	died     int
}

type sessionKey struct {
	device string
	from   int64
}

func newRecorder() *recorder {
	return &recorder{sessions: map[sessionKey]*Session{}, proofs: map[Proof]bool{}, printed: map[string]map[string]bool{}}
}

// see takes a sample of the fleet's log.
func (r *recorder) see(now time.Time, seen []routersim.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range seen {
		k := sessionKey{s.Device, s.From.UnixNano()}
		known := r.sessions[k]
		if known == nil {
			known = &Session{Session: s}
			r.sessions[k] = known
		} else if s.Bytes > known.Bytes {
			at := now
			if !s.Open && s.To.Before(at) {
				at = s.To
			}
			known.Growth = append(known.Growth, Growth{at, s.Bytes})
		}
		known.Session = s
	}
}

func (r *recorder) prove(p Proof) {
	p.Started = p.Started.UTC().Round(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proofs[p] = true
}

func (r *recorder) fault(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, f)
}

func (r *recorder) death() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.died++
}

// prints notes a text that the device may print from now on.
func (r *recorder) prints(device, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.printed[device] == nil {
		r.printed[device] = map[string]bool{}
	}
	r.printed[device][text] = true
}

func (r *recorder) hasPrinted(device, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.printed[device][text]
}

// fill puts what was seen into the evidence.
func (r *recorder) fill(e *Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sessions {
		e.Sessions = append(e.Sessions, *s)
	}
	slices.SortFunc(e.Sessions, func(a, b Session) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Device, b.Device))
	})
	for p := range r.proofs {
		e.Proofs = append(e.Proofs, p)
	}
	e.Faults = slices.Clone(r.faults)
}

// newest is the latest proof of each device.
func (r *recorder) newest() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]time.Time{}
	for p := range r.proofs {
		if p.Started.After(out[p.Device]) {
			out[p.Device] = p.Started
		}
	}
	return out
}
