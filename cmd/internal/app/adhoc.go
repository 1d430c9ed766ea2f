package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	asksAtOnce = 16
	// Up to this many requests go to the head of their queues; a walk along the queue per device is too dear for more.
	headMax = 1000
	// Up to this many devices are heard by their keys; more by a watch of the whole fleet.
	keysMax = 64
)

// Asked is one device's answer to a request.
type Asked struct {
	Device device.Device
	State  backup.State
	Error  error // the request could not be made, or the device is blocked and force was not asked for
}

// Asks are requests under way.
type Asks struct {
	mu       sync.Mutex
	requests map[string]backup.Request // by key, those not answered yet
	devices  map[string]device.Device
}

// NewAsks has no request yet.
func NewAsks() *Asks {
	return &Asks{requests: map[string]backup.Request{}, devices: map[string]device.Device{}}
}

// How says what a request asks for beyond a backup.
type How struct {
	Force, WithoutSecrets bool
	By                    string // who asks; "": this process
	Alone                 bool   // no request is made while a session to the device is open: the answer wraps ErrUnderWay
}

// ErrUnderWay answers a request that is to be made only where no other backup of the device is under way.
var ErrUnderWay = errors.New("a backup of the device is under way")

// Ask requests a backup of every device: the request goes to KV first, where a scheduler finds it even when this process
// ends here, and then the task is woken. What refusal names is answered at once.
func (p *Parts) Ask(ctx context.Context, a *Asks, devices []device.Device, how How, answer func(Asked)) error {
	id := rand.Text()
	paused, err := p.PausedCredentials(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asksAtOnce)
	for _, d := range devices {
		g.Go(func() error {
			s, revision, err := p.Store.State(ctx, d.Key())
			if err != nil {
				return err
			}
			if err := refusal(d, s, paused, how, time.Now()); err != nil {
				a.answer(answer, Asked{d, s, err})
				return nil
			}
			r := backup.Request{ID: id, Since: revision, Force: how.Force, WithoutSecrets: how.WithoutSecrets, By: cmp.Or(how.By, processName()), At: time.Now().UTC()}
			if _, err := p.Store.PutRequest(ctx, d.Key(), r); err != nil {
				return err
			}
			a.mu.Lock()
			a.requests[d.Key()], a.devices[d.Key()] = r, d
			a.mu.Unlock()
			_, err = p.Queue.EnsureNow(ctx, d.Site, backup.Task{Device: d.ID, Slot: time.Now().Unix(), Reason: backup.ReasonRequest}, len(devices) <= headMax)
			return err
		})
	}
	return g.Wait()
}

// refusal says why no request is made, and nil where one is.
func refusal(d device.Device, s backup.State, paused map[string]backup.Breaker, how How, now time.Time) error {
	b, isPaused := paused[d.Credential]
	switch {
	case s.Block != nil && !how.Force:
		return blocked(s)
	case isPaused && !how.Force && now.Before(b.PausedUntil):
		return fault.New(fault.Auth, "credential", "%s is paused: %d devices in a row refused it; see confhaul status", d.Credential, len(b.Refusals))
	case how.Alone && s.Running.Live(now):
		return fault.New(fault.Infrastructure, "ask", "%w: %s began it at %s", ErrUnderWay, s.Running.Worker, s.Running.Started.UTC().Format(time.RFC3339))
	}
	return nil
}

func (a *Asks) answer(answer func(Asked), asked Asked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer(asked)
}

// Open is the number of devices without an answer.
func (a *Asks) Open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests)
}

// Sites are those with a device without an answer.
func (a *Asks) Sites() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	sites := map[string]int{}
	for key := range a.requests {
		sites[a.devices[key].Site]++
	}
	return sites
}

// Some are up to n devices without an answer.
func (a *Asks) Some(n int) []device.Device {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []device.Device
	for key := range a.requests {
		if len(out) == n {
			break
		}
		out = append(out, a.devices[key])
	}
	return out
}

// keys are those of the devices without an answer, or none where they are too many to be heard one by one.
func (a *Asks) keys() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.requests) > keysMax {
		return nil
	}
	return slices.Collect(maps.Keys(a.requests))
}

var errAllAnswered = errors.New("every request is answered")

var errGone = fault.New(fault.Rejected, "ask", "the device was removed, moved or disabled while its backup was asked for")

// verdict says whether a change answers a request: with an outcome, with a block that nobody will pass, or because there is
// no such device any more.
func verdict(c backup.Change, r backup.Request) (Asked, bool) {
	switch {
	case c.Bucket == backup.BucketDevices:
		return Asked{Error: errGone}, c.Deleted || !c.Device.Enabled
	case r.ServedBy(c.State):
		return Asked{State: c.State}, true
	case c.State.Block != nil && !r.Force:
		return Asked{State: c.State, Error: blocked(c.State)}, true
	}
	return Asked{}, false
}

func blocked(s backup.State) error {
	return fault.New(s.Block.Kind, "blocked", "since %s: %s", s.Block.At.Format(time.DateTime), s.Block.Reason)
}

// Await hears the outcomes until every request is answered or ctx ends: one watch of the states, whoever does the work.
func (p *Parts) Await(ctx context.Context, a *Asks, answer func(Asked)) error {
	if a.Open() == 0 {
		return nil
	}
	err := p.Store.WatchKeys(ctx, a.keys(), func(c backup.Change) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		r, ok := a.requests[c.Key]
		if !ok {
			return nil
		}
		asked, answered := verdict(c, r)
		if !answered {
			return nil
		}
		delete(a.requests, c.Key)
		asked.Device = a.devices[c.Key]
		answer(asked)
		if len(a.requests) == 0 {
			return errAllAnswered
		}
		return nil
	}, func() {}, backup.BucketState, backup.BucketDevices)
	if errors.Is(err, errAllAnswered) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
