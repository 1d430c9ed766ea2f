package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// FleetVersion is the RouterOS release of every router of the fleet, so that all connections agree on the same algorithms.
const FleetVersion = "7.20.2"

const fleetSeed = 1

// FleetJob says what fleet to serve. It travels between two processes of ours, so it holds the password in clear.
type FleetJob struct {
	Load     Load   `json:"load"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// Target is one router as those who dial it know it.
type Target struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Address     string `json:"address"`
	Port        int    `json:"port"`
	Site        string `json:"site"`
	Fingerprint string `json:"fingerprint"` // of its host key, as OpenSSH prints it
}

// Fleet is a running simulated fleet.
type Fleet struct {
	Targets []Target
	fleet   *routersim.Fleet
}

// StartFleet starts the routers and has each of them render its export, so that no sweep pays for that; a fleet that is too
// large to keep them renders one, and then each when it is asked for. done hears, from one goroutine at a time, how many are ready.
func StartFleet(ctx context.Context, job FleetJob, done func(n int)) (*Fleet, error) {
	sim, err := routersim.Start(ctx, routersim.Options{
		Devices: job.Load.Devices, Seed: fleetSeed, Sites: job.Load.SiteNames(), Username: job.Username,
		Password: secret.New(job.Password), Versions: []string{FleetVersion}, Size: job.Load.Size,
	})
	if err != nil {
		return nil, err
	}
	f := &Fleet{fleet: sim}
	for _, d := range sim.Devices("") {
		f.Targets = append(f.Targets, Target{ID: d.ID, Name: d.Name, Address: d.Address, Port: d.Port, Site: d.Site})
	}
	if err := f.prepare(ctx, job.Load, done); err != nil {
		return nil, errors.Join(err, sim.Close())
	}
	return f, nil
}

// Close ends the fleet.
func (f *Fleet) Close() error { return f.fleet.Close() }

const tellInterval = time.Second // between two words about how far a long step is

func (f *Fleet) prepare(ctx context.Context, l Load, done func(n int)) error {
	var (
		next, ready atomic.Int64
		failed      atomic.Pointer[error]
		all         sync.WaitGroup
	)
	routers := f.fleet.Routers()
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(routers) || ctx.Err() != nil {
					return
				}
				r := routers[i]
				r.SetDelay(l.Delay())
				if l.Slow {
					if err := r.SetFault(routersim.Slow); err != nil {
						failed.Store(&err)
					}
				}
				f.Targets[i].Fingerprint = r.HostKeyFingerprint()
				if i == 0 || f.fleet.Keeps() {
					if n := len(r.Export()); n < l.Size {
						err := fmt.Errorf("%s prints %d bytes, less than the %d that are asked for", r.ID(), n, l.Size)
						failed.Store(&err)
					}
				}
				ready.Add(1)
			}
		})
	}
	tellWhile(&all, func() { done(int(ready.Load())) })
	if err := failed.Load(); err != nil {
		return *err
	}
	return context.Cause(ctx)
}

// tellWhile calls tell now and then, and once more when all is done.
func tellWhile(all *sync.WaitGroup, tell func()) {
	ended := make(chan struct{})
	go func() { // ends with what it waits for
		defer close(ended)
		all.Wait()
	}()
	tick := time.NewTicker(tellInterval)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			tell()
			return
		case <-tick.C:
			tell()
		}
	}
}
