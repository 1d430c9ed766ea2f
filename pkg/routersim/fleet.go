// Package routersim is a simulated fleet: RouterOS-like SSH servers in one process, with faults to order. It shares no
// code with what reads exports, so that it can be the second opinion in tests.
package routersim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Defaults of Options that are left out.
const (
	DefaultListen   = "127.0.0.1"
	DefaultNetwork  = "127.16.0.0/12" // of fleets of more than ownListenersMax routers
	DefaultIDPrefix = "router-"
)

// DevicesMax is how many routers a fleet can have, each at an address of DefaultNetwork.
const DevicesMax = 1_000_000

const (
	ownListenersMax = 1000   // routers of a fleet by default, each with a listener, and so a descriptor, of its own
	keepMax         = 20_000 // routers of a fleet that keeps the host keys and exports that it has made
)

// Options say what fleet to start.
type Options struct {
	Devices int    // 1 to DevicesMax
	Seed    uint64 // the same seed and options give the same routers, keys and configurations
	// Listen is an address without port, of which each router takes a free one. Or, on Linux only, an IPv4 network in
	// 127.0.0.0/8, in which each has an address and all share a port.
	Listen   string
	IDPrefix string   // ids are the prefix and a number of four digits or more, from 0001
	Sites    []string // dealt round robin; {"default"} if none
	Username string
	Password secret.Text // while it is empty every password is refused
	Versions []string    // dealt round robin out of Versions; if none, router 1 has 6.49.18 and the seed deals the others
	Size     int         // bytes that each export is filled up to; 0: drawn, mostly 4 to 15 KB and some 20 to 120 KB
}

// Fleet is a number of running routers.
type Fleet struct {
	address  string       // of all routers
	network  netip.Prefix // or theirs, where it is valid
	port     int          // in the network
	shared   *listener    // of the network
	username string

	routers []*Router
	byID    map[string]*Router
	log     *sessionLog
	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // accept loops and connections
}

var errClosed = errors.New("the fleet is closed")

// Start brings every router up. The fleet stops when ctx ends; Close waits for that.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("start fleet: %w", err)
	}
	f := &Fleet{address: o.Listen, username: o.Username, byID: make(map[string]*Router, o.Devices), log: newSessionLog()}
	f.network, _ = netip.ParsePrefix(o.Listen) // check has seen that it is one or none
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	for n := 1; n <= o.Devices; n++ {
		r := newRouter(f, o, newProfile(o, n))
		f.routers = append(f.routers, r)
		f.byID[r.profile.id] = r
	}
	if err := f.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("start fleet: %w", err), f.Close())
	}
	return f, nil
}

// listen opens one listener for each router, or one for all.
func (f *Fleet) listen() error {
	if f.network.IsValid() {
		return f.listenForAll()
	}
	for _, r := range f.routers {
		if err := r.listen(); err != nil {
			return err
		}
	}
	return nil
}

// Keeps says whether what the routers have made stays with them: memory would not do for every fleet.
func (f *Fleet) Keeps() bool { return len(f.routers) <= keepMax }

func (o Options) withDefaults() Options {
	if o.Listen == "" {
		o.Listen = DefaultListen
		if o.Devices > ownListenersMax {
			o.Listen = DefaultNetwork
		}
	}
	if o.IDPrefix == "" {
		o.IDPrefix = DefaultIDPrefix
	}
	if len(o.Sites) == 0 {
		o.Sites = []string{device.DefaultSite}
	}
	return o
}

func (o Options) check() error {
	if o.Devices < 1 || o.Devices > DevicesMax {
		return fmt.Errorf("%d devices: use 1 to %d", o.Devices, DevicesMax)
	}
	if strings.Contains(o.Listen, "/") {
		if err := checkNetwork(o.Listen, o.Devices); err != nil {
			return err
		}
	}
	if o.Username == "" {
		return errors.New("no username")
	}
	if err := device.CheckID(fmt.Sprintf("%s%04d", o.IDPrefix, o.Devices)); err != nil {
		return err
	}
	for _, s := range o.Sites {
		if err := device.CheckSite(s); err != nil {
			return err
		}
	}
	for _, v := range o.Versions {
		if !slices.Contains(Versions(), v) {
			return fmt.Errorf("version %q is not simulated: use some of %q", v, Versions())
		}
	}
	return nil
}

func checkNetwork(text string, devices int) error {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("listen in %s: %w", text, err)
	}
	const loopbackBits = 8
	if !network.Addr().Is4() || !network.Addr().IsLoopback() || network.Bits() < loopbackBits {
		return fmt.Errorf("listen in %s: use a network in 127.0.0.0/%d", text, loopbackBits)
	}
	if room := 1<<(32-network.Bits()) - 1; devices > room {
		return fmt.Errorf("listen in %s: it has room for %d devices, not for %d", text, room, devices)
	}
	return nil
}

// Close stops every router, closes its connections and waits until nothing of the fleet runs any more.
func (f *Fleet) Close() error {
	f.cancel(errClosed)
	var errs []error
	for _, r := range f.routers {
		errs = append(errs, r.retire())
	}
	if f.shared != nil {
		errs = append(errs, f.shared.shut())
	}
	f.running.Wait()
	return errors.Join(errs...)
}

// Routers lists the routers in the order of their ids.
func (f *Fleet) Routers() []*Router { return slices.Clone(f.routers) }

// Router returns the router with the id, or nil.
func (f *Fleet) Router(id string) *Router { return f.byID[id] }

// Devices is the fleet as an inventory has it, every device with the named credential.
func (f *Fleet) Devices(credential string) []device.Device {
	out := make([]device.Device, 0, len(f.routers))
	for _, r := range f.routers {
		out = append(out, device.Device{
			ID: r.ID(), Name: r.Identity(), Address: r.Address(), Port: r.Port(), Site: r.profile.site,
			Tenant: device.DefaultTenant, Platform: device.DefaultPlatform, Credential: credential, Enabled: true,
		})
	}
	return out
}

// Sessions lists the connections to the fleet so far in the order in which they began: the open ones and the latest
// 18,000 or more of the others.
func (f *Fleet) Sessions() []Session {
	s, _ := f.log.snapshot()
	return s
}

// WaitSessions returns when the sessions satisfy enough, which is asked now and after every change, or with ctx's error.
func (f *Fleet) WaitSessions(ctx context.Context, enough func([]Session) bool) error {
	return f.log.wait(ctx, enough)
}
