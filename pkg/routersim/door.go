package routersim

import (
	"net"
	"sync"
	"time"
)

// door decides which connections come in. The zero value is open.
type door struct {
	mu      sync.Mutex
	open    int
	ban     bool
	callers map[string]caller // by IP address, while ban is on
}

// caller is what the firewall remembers of one address.
type caller struct {
	calls int       // of the latest row
	until time.Time // when the row ends
}

// banWindows are the lives of the three lists of the published recipe: a call that finds its address in one puts it into
// the next, and one that finds it in the last is banned.
func banWindows() []time.Duration {
	return []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour}
}

const callersMax = 1000 // addresses; beyond it all are forgotten

// SetBan turns the published brute-force recipe on, with its lists empty: an address whose 4th new connection comes soon
// after the others is banned, whether or not it logged in. Its connections are accepted and closed until SetBan(false).
func (r *Router) SetBan(on bool) {
	r.door.mu.Lock()
	defer r.door.mu.Unlock()
	r.door.ban, r.door.callers = on, nil
}

// banned counts one new connection from an address and says whether the firewall closes it.
func (d *door) banned(address string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ban {
		return false
	}
	windows, c := banWindows(), d.callers[address]
	if c.calls > len(windows) {
		return true
	}
	if now.After(c.until) {
		c.calls = 0
	}
	if c.calls < len(windows) {
		c.until = now.Add(windows[c.calls])
	}
	c.calls++
	if d.callers == nil || len(d.callers) >= callersMax {
		d.callers = map[string]caller{}
	}
	d.callers[address] = c
	return c.calls > len(windows)
}

// enter counts an open connection, if there is room; leave follows.
func (d *door) enter(limit int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if limit == 0 {
		limit = maxSessionsDefault
	}
	if d.open >= limit {
		return false
	}
	d.open++
	return true
}

func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
}

func ipOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
