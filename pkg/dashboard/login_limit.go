package dashboard

import (
	"net/netip"
	"sync"
	"time"
)

// What may be refused before nobody looks any more: as many in a row as burst, and one more each time that every passes.
// Behind a reverse proxy all have one address; sessions that are open know nothing of these limits.
var (
	addressRate = rate{burst: 5, every: 10 * time.Second}
	allRate     = rate{burst: 50, every: time.Second}
)

// addressesMax is when addresses that are as good as new are forgotten. allRate leaves fewer than this that are not:
// its burst, and those of the time in which one address recovers.
const addressesMax = 256

type rate struct {
	burst float64
	every time.Duration
}

// bucket is how many are left, as of a moment.
type bucket struct {
	left float64
	at   time.Time
}

func (r rate) filled(b bucket, now time.Time) bucket {
	if passed := now.Sub(b.at); passed > 0 {
		b.left = min(r.burst, b.left+float64(passed)/float64(r.every))
		b.at = now
	}
	return b
}

// wait is how long until one is left.
func (r rate) wait(b bucket) time.Duration {
	if b.left >= 1 {
		return 0
	}
	return time.Duration((1 - b.left) * float64(r.every))
}

// limiter bounds the refused logins of each address and of all. It is safe for concurrent use.
type limiter struct {
	mu        sync.Mutex
	all       bucket
	byAddress map[netip.Prefix]bucket
}

// try has good look, which costs one where it says no; without one left it does not look, and says how long until there is
// one. One looks at a time, so that many at once have no more than the rate. An address that has none left takes none from the
// others.
func (l *limiter) try(address netip.Prefix, now time.Time, good func() bool) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.byAddress[address]
	if !known {
		b = bucket{left: addressRate.burst, at: now}
	}
	b, l.all = addressRate.filled(b, now), allRate.filled(l.all, now)
	if wait := max(addressRate.wait(b), allRate.wait(l.all)); wait > 0 {
		return wait
	}
	if good() {
		return 0
	}
	if !known && len(l.byAddress) >= addressesMax {
		l.forget(now)
	}
	b.left--
	l.all.left--
	l.byAddress[address] = b
	return 0
}

func (l *limiter) forget(now time.Time) {
	for address, b := range l.byAddress {
		if addressRate.filled(b, now).left == addressRate.burst {
			delete(l.byAddress, address)
		}
	}
}
