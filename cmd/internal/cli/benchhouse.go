package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/settings"
)

// benchHouse is a confhaul that knows nothing yet: Redis and NATS, each in a process of its own, and files for its other
// processes, which come as they are needed.
type benchHouse struct {
	*benchLab
	dir       string
	redis     *embedded.Redis
	nats      *bench.Child
	scheduler *benchProcess
	others    []*benchProcess // that end with the house
	parts     *app.Parts
	devices   []device.Device // as registered

	closing chan struct{}
	watch   sync.WaitGroup // of Redis, until closing
}

// benchProcess is a process of confhaul that serves its metrics at an address.
type benchProcess struct {
	*bench.Child
	address string
}

// inHouse makes a lab whose routers come from targets, and in it a house that is used and ended.
func (e *env) inHouse(ctx context.Context, load bench.Load, name string, settings []string,
	targets func(*benchLab, context.Context) error, use func(context.Context, *benchHouse) error,
) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b, err := newBenchLab(e, load, "", cancel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	b.name = name
	if err := targets(b, ctx); err != nil {
		return b.cause(ctx, err)
	}
	h, err := b.openHouse(ctx, append(b.loadSettings(), settings...))
	if err != nil {
		return b.cause(ctx, err)
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := use(ctx, h); err != nil {
		return b.cause(ctx, err)
	}
	return nil
}

// openHouse starts what every run needs; the settings are lines for all processes.
func (b *benchLab) openHouse(ctx context.Context, settings []string) (*benchHouse, error) {
	b.progress.step("%s: starting Redis and NATS", b.name)
	h := &benchHouse{benchLab: b, dir: filepath.Join(b.dir, "house"), closing: make(chan struct{})}
	if err := h.open(ctx, settings); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *benchHouse) open(ctx context.Context, lines []string) (err error) {
	token := embedded.NewToken()
	if err := h.startRedis(ctx, token); err != nil {
		return err
	}
	address, err := h.startNATS(ctx, token)
	if err != nil {
		return err
	}
	natsURL := "nats://" + token.Reveal() + "@" + address
	lines = append(lines, "redis: "+strconv.Quote(h.redis.URL().Reveal()), "nats: "+strconv.Quote(natsURL), "")
	if err := h.env.writeFleet(h.dir, h.inventory(), h.password, strings.Join(lines, "\n")); err != nil {
		return err
	}
	s, err := settings.Load(h.config(), func(string) string { return "" })
	if err == nil {
		h.parts, err = app.Connect(ctx, s, func(error) {})
	}
	return err
}

// openFleet has the fleet registered and every site paused.
func (h *benchHouse) openFleet(ctx context.Context) error {
	if err := h.startScheduler(ctx); err != nil {
		return err
	}
	if err := h.register(ctx); err != nil {
		return err
	}
	return h.pause(ctx)
}

func (h *benchHouse) startScheduler(ctx context.Context) (err error) {
	h.progress.step("%s: starting a scheduler", h.name)
	h.scheduler, err = h.run(ctx, "scheduler", "scheduler")
	return err
}

// startAll starts archiver, workers and at last the scheduler, so that the first tasks find all others ready.
func (h *benchHouse) startAll(ctx context.Context, workers int) error {
	h.progress.step("%s: starting archiver and workers", h.name)
	archiver, err := h.run(ctx, "archiver", "archiver")
	if err != nil {
		return err
	}
	h.others = append(h.others, archiver)
	for i := range workers {
		w, err := h.startWorker(ctx, "worker "+strconv.Itoa(i+1), false)
		if err != nil {
			return err
		}
		h.others = append(h.others, w)
	}
	return h.startScheduler(ctx)
}

// run starts a process of confhaul and waits until it is ready.
func (h *benchHouse) run(ctx context.Context, name string, args ...string) (*benchProcess, error) {
	c, err := h.start(name, append(args, "--config", h.config(), "--listen", "127.0.0.1:0")...)
	if err != nil {
		return nil, err
	}
	p := &benchProcess{Child: c}
	err = until(ctx, name+" to be ready", func(ctx context.Context) (bool, error) {
		if p.address == "" {
			log, err := c.Log()
			if p.address = bench.Listening(log); err != nil || p.address == "" {
				return false, err
			}
		}
		return ready(ctx, p.address), nil
	})
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return p, nil
}

func (h *benchHouse) startRedis(ctx context.Context, token secret.Text) (err error) {
	h.redis, err = embedded.StartRedis(ctx, embedded.RedisOptions{Dir: filepath.Join(h.dir, "redis"), Token: token})
	if err != nil {
		return err
	}
	h.redisKind = string(h.redis.Kind())
	h.watch.Go(func() {
		select {
		case <-h.redis.Done():
			h.died(errors.New("redis-server ended by itself"))
		case <-h.closing:
		}
	})
	return nil
}

func (h *benchHouse) config() string { return filepath.Join(h.dir, "confhaul.yaml") }

func (h *benchHouse) startNATS(ctx context.Context, token secret.Text) (address string, err error) {
	if h.nats, err = h.start("nats", "bench", "part", "nats"); err != nil {
		return "", err
	}
	if err := h.nats.Send(ctx, natsJob{Dir: filepath.Join(h.dir, "nats"), Token: token.Reveal()}); err != nil {
		return "", err
	}
	m, err := h.hear(ctx, h.nats)
	return m.Address, err
}

// close ends what runs, senders before receivers, and removes what they stored.
func (h *benchHouse) close() error {
	var errs []error
	close(h.closing)
	h.watch.Wait()
	for _, p := range slices.Backward(append([]*benchProcess{h.scheduler}, h.others...)) {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	if h.parts != nil {
		h.parts.Close()
	}
	if h.nats != nil {
		errs = append(errs, h.nats.Stop())
	}
	if h.redis != nil {
		errs = append(errs, h.redis.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(h.dir))...)
}

// register waits until the scheduler has put the fleet into the registry.
func (h *benchHouse) register(ctx context.Context) error {
	return until(ctx, "the scheduler to register the fleet", func(ctx context.Context) (bool, error) {
		inventory, _, err := h.parts.Store.Inventory(ctx)
		if err != nil || !inventory.Applied {
			return false, err
		}
		h.devices, err = h.parts.Store.Devices(ctx)
		if err == nil && len(h.devices) != h.load.Devices {
			err = fmt.Errorf("%d devices are registered, not %d", len(h.devices), h.load.Devices)
		}
		return err == nil, err
	})
}

// pause keeps tasks in the queues, and waits until Redis holds every site to it.
func (h *benchHouse) pause(ctx context.Context) error {
	pause := &device.Pause{At: time.Now().UTC(), By: app.Operator(), Reason: "a sweep is prepared"}
	if err := h.amend(ctx, func(s *device.Site) { s.Paused = pause }); err != nil {
		return err
	}
	sites := h.load.SiteNames()
	return until(ctx, "the sites to be paused", func(ctx context.Context) (bool, error) {
		limits, err := h.parts.Queue.Limits(ctx, sites)
		paused := func(site string) bool { l, known := limits[site]; return known && l.Sessions == 0 }
		return err == nil && !slices.ContainsFunc(sites, func(site string) bool { return !paused(site) }), err
	})
}

// amend changes every site.
func (h *benchHouse) amend(ctx context.Context, change func(*device.Site)) error {
	const atOnce = 16
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, site := range h.load.SiteNames() {
		g.Go(func() error { return h.parts.AmendSite(ctx, site, change) })
	}
	return g.Wait()
}

// startWorker starts a worker and waits until it is ready.
func (h *benchHouse) startWorker(ctx context.Context, name string, profiled bool) (*benchProcess, error) {
	if profiled {
		return h.run(ctx, name, "bench", "part", "worker")
	}
	return h.run(ctx, name, "worker")
}

// awaitServed waits until every site has a worker.
func (h *benchHouse) awaitServed(ctx context.Context) error {
	return until(ctx, "a worker to serve every site", func(context.Context) (bool, error) {
		served, err := h.parts.Queue.ServedSites()
		return !slices.ContainsFunc(h.load.SiteNames(), func(site string) bool { return !served[site] }), err
	})
}

func ready(ctx context.Context, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// until asks until the answer is yes, or an error.
func until(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, benchStepTimeout, fmt.Errorf("waited %s for %s", benchStepTimeout, what))
	defer cancel()
	tick := time.NewTicker(benchAskInterval)
	defer tick.Stop()
	for {
		if yes, err := ask(ctx); err != nil || yes {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
