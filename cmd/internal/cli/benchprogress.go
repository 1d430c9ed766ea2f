package cli

import (
	"fmt"
	"sync"
	"time"
)

const (
	benchLineInterval   = 5 * time.Second        // between two lines of progress where there is no terminal
	benchRedrawInterval = 200 * time.Millisecond // and on a terminal
)

// benchProgress tells on standard error what a benchmark is at and how far. Its methods are safe for concurrent use.
type benchProgress struct {
	env *env

	mu   sync.Mutex
	what string
	told time.Time
}

func newBenchProgress(e *env) *benchProgress { return &benchProgress{env: e} }

// step begins something that may take longer than a moment.
func (p *benchProgress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.told = fmt.Sprintf(format, args...), time.Now()
	p.draw(p.what)
}

// now says how things stand.
func (p *benchProgress) now(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draw(fmt.Sprintf(format, args...))
}

// count says how far the step is, now and then.
func (p *benchProgress) count(n, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	interval := benchLineInterval
	if p.env.errTerminal {
		interval = benchRedrawInterval
	}
	if n > 0 && time.Since(p.told) >= interval {
		p.told = time.Now()
		p.draw(fmt.Sprintf("%s: %d of %d", p.what, n, of))
	}
}

// end takes the last line away where it stands in place.
func (p *benchProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.env.errTerminal {
		p.draw("")
	}
}

func (p *benchProgress) draw(line string) {
	if p.env.errTerminal {
		_, _ = fmt.Fprintf(p.env.err, "\r\x1b[K%s", line)
		return
	}
	_, _ = fmt.Fprintln(p.env.err, line)
}
