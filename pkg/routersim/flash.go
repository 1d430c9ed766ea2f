package routersim

import (
	"maps"
	"sync"
	"time"
)

// filesMax bounds the files; beyond it all are gone.
const filesMax = 100

// flash holds a router's files by name. The zero value is empty.
type flash struct {
	mu    sync.Mutex
	files map[string]file
}

// file is a text that is written from a time on, over a while.
type file struct {
	text  string
	begun time.Time
	takes time.Duration
}

// at is what of the file is there.
func (f file) at(now time.Time) string {
	since := now.Sub(f.begun)
	if since >= f.takes || f.text == "" {
		return f.text
	}
	return f.text[:int(float64(len(f.text))*max(0, float64(since)/float64(f.takes)))]
}

// put writes a file in place of one of its name, as far as there is room: limit bytes over all files, 0 as SetFlash.
func (f *flash) put(name, text string, now time.Time, takes time.Duration, limit int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if limit <= 0 || limit > flashMax {
		limit = flashMax
	}
	delete(f.files, name)
	for _, other := range f.files {
		limit -= len(other.text)
	}
	if f.files == nil || len(f.files) >= filesMax {
		f.files = map[string]file{}
	}
	f.files[name] = file{text: text[:min(len(text), max(0, limit))], begun: now, takes: takes}
}

// get is what of a file is there, and when it was begun.
func (f *flash) get(name string, now time.Time) (text string, begun time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, ok := f.files[name]
	return one.at(now), one.begun, ok
}

func (f *flash) size(name string, now time.Time) (int, bool) {
	text, _, ok := f.get(name, now)
	return len(text), ok
}

func (f *flash) remove(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.files[name]
	delete(f.files, name)
	return ok
}

func (f *flash) list() map[string]file {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.files)
}

// Files lists the files on the router with their sizes in bytes, as far as they are written.
func (r *Router) Files() map[string]int {
	out, now := map[string]int{}, time.Now()
	for name, f := range r.flash.list() {
		out[name] = len(f.at(now))
	}
	return out
}
