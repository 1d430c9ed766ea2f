package telemetry

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// errUnknown is the state of a condition that nobody has reported yet.
var errUnknown = errors.New("not known yet")

// Condition is one part of a process that must be well for it to be ready.
type Condition struct {
	Name string
	Err  error // nil: it is well
}

// Ready holds the conditions of a process. It is ready when every one is well. The zero value has none and is ready.
type Ready struct {
	mu         sync.Mutex
	conditions map[string]error
}

// NewReady makes a Ready in which each named condition stands in the way until it is first set.
func NewReady(names ...string) *Ready {
	r := &Ready{}
	for _, name := range names {
		r.Set(name, errUnknown)
	}
	return r
}

// Set reports a condition, nil for well. The error's text is shown to whoever asks over HTTP.
func (r *Ready) Set(name string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conditions == nil {
		r.conditions = map[string]error{}
	}
	r.conditions[name] = err
}

// Status lists all conditions by name.
func (r *Ready) Status() []Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Condition, 0, len(r.conditions))
	for _, name := range slices.Sorted(maps.Keys(r.conditions)) {
		all = append(all, Condition{Name: name, Err: r.conditions[name]})
	}
	return all
}
