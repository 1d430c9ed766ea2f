package sshclient

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// The limits of connections to jump hosts.
const (
	JumpIdle         = 60 * time.Second // a connection without a session is closed after it
	JumpRefusedDelay = 15 * time.Minute // for so long a jump host that turned us down is not dialled again

	jumpAliveInterval = 30 * time.Second // between two questions whether the jump host is still there
	jumpAliveTimeout  = 15 * time.Second // for its answer
	jumpTrustTimeout  = 10 * time.Second // for Hop.Trust

	// jumpLingerMax bounds, per connection, the channels that nobody waits for any more and the jump host has not ended:
	// OpenSSH goes on trying for two minutes to reach a device that is off. One more, and later sessions get a new connection.
	jumpLingerMax = 256
)

// Hop is a jump host: how to open it.
type Hop struct {
	Name   string // device id of the jump host, for messages
	Key    string // names host and credential version: hops with one Key share a connection
	Target Target // its Dial is set by Jumps

	// Trust is called with an unknown host key after the login; an error closes the hop. It may be nil where
	// Target.HostKey is set. Its context ends after 10 s.
	Trust func(context.Context, device.HostKey) error
}

// Jumps keeps the connections to jump hosts: one to each, per way to it, for all sessions behind it. A connection is
// closed JumpIdle after its last session, and when it does not answer a question that is asked every 30 s. Its methods
// and what they give are for any number of goroutines.
type Jumps struct {
	ctx    context.Context // ends every connection
	cancel context.CancelCauseFunc

	idle, aliveInterval, aliveTimeout time.Duration
	lingerMax                         int

	mu      sync.Mutex
	closed  bool
	pool    map[string]*jump   // by the keys of the way to it
	refused map[string]refusal // by Hop.Key
	running sync.WaitGroup     // started with mu held and closed false, or from one that runs
}

var errJumpsClosed = errors.New("the connections to jump hosts are closed")

// NewJumps makes a Jumps without connections.
func NewJumps() *Jumps {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Jumps{
		ctx:           ctx,
		cancel:        cancel,
		idle:          JumpIdle,
		aliveInterval: jumpAliveInterval,
		aliveTimeout:  jumpAliveTimeout,
		lingerMax:     jumpLingerMax,
		pool:          map[string]*jump{},
		refused:       map[string]refusal{},
	}
}

// Close closes every connection and waits. Sessions behind them break.
func (j *Jumps) Close() {
	j.mu.Lock()
	j.closed = true
	j.cancel(errJumpsClosed)
	j.mu.Unlock()
	j.running.Wait()
}

// Dialer gives the Target.Dial of a device behind hops, the one that we dial first in front; nil for no hops.
//
// Each hop is opened within its own Target.Timeouts, whoever waits for it, and the channel to the device within
// Timeouts.Dial of the last one. What goes wrong at a hop is no fault of the device: it is of kind unreachable and names
// the jump host; timeout, infrastructure and internal stay what they are. A hop that refused the login or showed another
// host key than the one on record is not dialled for JumpRefusedDelay, unless its Key or the key on record changes.
func (j *Jumps) Dialer(hops []Hop) func(ctx context.Context, endpoint string) (net.Conn, error) {
	if len(hops) == 0 {
		return nil
	}
	hops = slices.Clone(hops)
	return func(ctx context.Context, endpoint string) (net.Conn, error) { return j.dial(ctx, hops, endpoint) }
}

// dial opens a channel on the last hop. A connection that has stood for a while may turn out to be dead: then a new one is
// made, once.
func (j *Jumps) dial(ctx context.Context, hops []Hop, endpoint string) (net.Conn, error) {
	for again := true; ; again = false {
		jump, old, err := j.lease(ctx, hops)
		if err != nil {
			return nil, err
		}
		conn, err := j.open(ctx, jump, hops[len(hops)-1], endpoint)
		if err == nil {
			return conn, nil
		}
		j.release(jump)
		if !errors.Is(err, errJumpLost) {
			return nil, err
		}
		j.retire(jump)
		if !old || !again {
			return nil, err
		}
	}
}

// way names the hops, as the key of the connection to the last one.
func way(hops []Hop) string {
	keys := make([]string, len(hops))
	for i, h := range hops {
		keys[i] = h.Key
	}
	return strings.Join(keys, "\x00")
}

// lease gives the connection to the last hop with one use taken, which release gives back. old says that it stood
// already.
func (j *Jumps) lease(ctx context.Context, hops []Hop) (_ *jump, old bool, _ error) {
	hop := hops[len(hops)-1]
	for range 3 {
		jump, old, err := j.take(hops)
		if err != nil {
			return nil, false, err
		}
		select {
		case <-jump.ready:
		case <-ctx.Done():
			j.release(jump)
			return nil, false, ended(ctx, stepDial)
		}
		if jump.err != nil {
			return nil, false, jump.err
		}
		if hop.Target.HostKey == nil || sameKey(*hop.Target.HostKey, jump.conn.HostKey()) {
			return jump, old, nil
		}
		j.retire(jump) // the key on record is another now
		j.release(jump)
	}
	return nil, false, hopFault(hop.Name, fault.New(fault.Unreachable, stepHandshake, "sessions disagree about its host key; try again"))
}

// take finds the connection, or starts one.
func (j *Jumps) take(hops []Hop) (_ *jump, old bool, _ error) {
	key, hop := way(hops), hops[len(hops)-1]
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, false, stepError(stepDial, errJumpsClosed)
	}
	c, ok := j.pool[key]
	if !ok {
		if r, ok := j.refused[hop.Key]; ok && r.stands(hop, time.Now()) {
			return nil, false, r.fault(hop.Name)
		}
		c = &jump{way: key, ready: make(chan struct{}), stop: make(chan struct{})}
		j.pool[key] = c
		j.running.Go(func() { j.run(c, hops) })
	}
	c.uses++
	if c.timer != nil {
		c.timer.Stop()
	}
	return c, ok && c.settled, nil
}

// release gives a use back; the last one starts the idle time.
func (j *Jumps) release(c *jump) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.uses--
	if c.channels-c.uses > j.lingerMax {
		j.dropLocked(c)
		c.retired = true
	}
	switch {
	case c.uses > 0 || c.over:
	case c.retired:
		c.end()
	default:
		c.timer = time.AfterFunc(j.idle, func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			if c.uses == 0 && !c.over {
				j.dropLocked(c)
				c.end()
			}
		})
	}
}

// retire keeps later sessions off the connection; it is closed after those that use it.
func (j *Jumps) retire(c *jump) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dropLocked(c)
	c.retired = true
	if c.uses == 0 {
		c.end()
	}
}

// dropLocked needs mu.
func (j *Jumps) dropLocked(c *jump) {
	if j.pool[c.way] == c {
		delete(j.pool, c.way)
	}
}

// refusal is a jump host's no, which is not asked for again at once.
type refusal struct {
	at    time.Time
	known string // fingerprint on record, where the host key was the matter
	cause string
}

// stands says whether asking hop again would be hammering.
func (r refusal) stands(hop Hop, now time.Time) bool {
	if now.Sub(r.at) >= JumpRefusedDelay {
		return false
	}
	return r.known == "" || hop.Target.HostKey != nil && hop.Target.HostKey.Fingerprint == r.known
}

func (r refusal) fault(name string) error {
	until := r.at.Add(JumpRefusedDelay)
	return hopFault(name, fault.New(fault.Unreachable, stepDial, "%s (at %s; not tried again before %s unless its record changes)",
		r.cause, r.at.UTC().Format(time.TimeOnly+"Z"), until.UTC().Format(time.TimeOnly+"Z")))
}

// refuseLocked remembers a refused login or a differing host key. It needs mu.
func (j *Jumps) refuseLocked(hop Hop, err error) {
	now := time.Now()
	for key, r := range j.refused {
		if now.Sub(r.at) >= JumpRefusedDelay {
			delete(j.refused, key)
		}
	}
	switch fault.KindOf(err) {
	case fault.Auth:
		j.refused[hop.Key] = refusal{at: now, cause: hopText(hop.Name, err)}
	case fault.HostKey:
		if hop.Target.HostKey != nil {
			j.refused[hop.Key] = refusal{at: now, cause: hopText(hop.Name, err), known: hop.Target.HostKey.Fingerprint}
		}
	}
}
