package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/queue"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

const (
	clockInterval  = time.Minute     // between two comparisons with Redis' clock
	healthInterval = 5 * time.Second // between two looks at Redis and NATS
	stopTimeout    = 5 * time.Second // of the HTTP server
)

// By how much a clock may differ from Redis'.
const (
	SkewWarn = 2 * time.Second
	SkewMax  = 10 * time.Second // beyond this a process takes and enqueues nothing
)

// Process is a long-running process: its parts, its small HTTP server, and the conditions of its readiness.
type Process struct {
	*Parts
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	Ready   *telemetry.Ready
	HTTP    *telemetry.Server

	skewed         atomic.Bool
	streamsWatched atomic.Bool // by one role, of however many
}

// Role is one job of a process. It returns when ctx ends, with nil, or when it cannot go on.
type Role func(ctx context.Context, p *Process) error

// Run is the life of a process: the HTTP server first, so that readiness tells while it waits, then Redis and NATS, then
// the roles. A role that fails ends the process. after, where not nil, runs when the roles have ended.
func Run(ctx context.Context, s settings.Settings, log *slog.Logger, roles []Role, after func(context.Context, *Process) error) error {
	return run(ctx, s, log, roles, after, false)
}

// Join is Run for a process that makes no streams and buckets, and needs no permission to: it waits for those of a scheduler.
func Join(ctx context.Context, s settings.Settings, log *slog.Logger, role Role) error {
	return run(ctx, s, log, []Role{role}, nil, true)
}

func run(ctx context.Context, s settings.Settings, log *slog.Logger, roles []Role, after func(context.Context, *Process) error, existing bool) (err error) {
	p := &Process{Log: log, Metrics: telemetry.NewMetrics(), Ready: telemetry.NewReady()}
	p.Ready.Set("start", errors.New("waiting for Redis and NATS"))
	p.HTTP = telemetry.NewServer(p.Ready, p.Metrics)
	if s.ListenTLS.Cert != "" {
		c, err := telemetry.OpenCertificate(s.ListenTLS.Cert, s.ListenTLS.Key, log)
		if err != nil {
			return err
		}
		p.HTTP.UseTLS(c)
	}
	if err := p.HTTP.Listen(ctx, s.Listen, log); err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, p.HTTP.Stop(stop))
	}()
	stopProfiles, err := serveProfiles(ctx, s.Pprof, log)
	if err != nil {
		return err
	}
	defer stopProfiles()
	if p.Parts, err = await(ctx, s, log, existing); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while it waited
		}
		return err
	}
	defer p.Close()
	p.compareClocks(ctx)
	p.Ready.Set("start", nil)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { p.watchHealth(gctx); return nil })
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return nil
		case <-p.HTTP.Done():
			return errors.New("health and metrics are served no longer")
		}
	})
	for _, role := range roles {
		g.Go(func() error { return role(gctx, p) })
	}
	err = g.Wait()
	if after != nil {
		err = errors.Join(err, after(context.WithoutCancel(ctx), p))
	}
	return err
}

// serveProfiles serves Go's profiles at an address on loopback, which Validate has made sure of; at none where it is empty.
func serveProfiles(ctx context.Context, addr string, log *slog.Logger) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	profiles := telemetry.NewProfileServer()
	if err := profiles.Listen(ctx, addr, log); err != nil {
		return nil, err
	}
	return func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		_ = profiles.Stop(stop) // a profile that lasts is cut off
	}, nil
}

// Hold says whether this process must neither take nor enqueue tasks: its clock is off, or the state store is away.
func (p *Process) Hold() bool { return p.skewed.Load() || !p.Conn.Connected() }

// watchHealth keeps the readiness true.
func (p *Process) watchHealth(ctx context.Context) {
	health, clock := time.NewTicker(healthInterval), time.NewTicker(clockInterval)
	defer health.Stop()
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-health.C:
			p.Ready.Set("redis", p.Queue.Writable(ctx))
			var err error
			if !p.Conn.Connected() {
				err = fmt.Errorf("nats at %s does not answer", p.Settings.NATS)
			}
			p.Ready.Set("nats", err)
			if p.skewed.Load() { // a clock that was set brings the process back at once
				p.compareClocks(ctx)
			}
		case <-clock.C:
			p.compareClocks(ctx)
		}
	}
}

func (p *Process) compareClocks(ctx context.Context) {
	skew, err := p.Queue.Skew(ctx)
	if err != nil {
		return // Redis' absence is told elsewhere; what was known of the clock stays
	}
	p.Metrics.ClockSkew(skew)
	off := skew.Abs()
	if off > SkewWarn && !p.skewed.Load() {
		p.Log.Warn("clock differs from Redis': set this machine's clock (NTP)", "by", skew.Round(time.Millisecond))
	}
	err = nil
	if off > SkewMax {
		err = fmt.Errorf("clock differs by %s from Redis', more than %s: nothing is taken or enqueued", skew.Round(time.Millisecond), SkewMax)
	}
	p.skewed.Store(off > SkewMax)
	p.Ready.Set("clock", err)
}

// Dashboard is the dashboard's role: it serves the pages on the process's listener, where that is on loopback or there is a
// login. queueActions lets operators change the queues through asynqmon too.
func Dashboard(queueActions bool) Role {
	return func(ctx context.Context, p *Process) error {
		login, err := p.login(time.Now)
		if errors.Is(err, errNoLogin) {
			p.Log.Warn("dashboard not served", "err", err)
			<-ctx.Done()
			return nil
		}
		if err != nil {
			return err
		}
		return p.serveDashboard(ctx, login, queueActions)
	}
}

func (p *Process) serveDashboard(ctx context.Context, login *dashboard.Login, queueActions bool) error {
	monitor, closeMonitor, err := queue.Monitor(redisAt(p.Settings), dashboard.QueuesPath, queueActions)
	if err != nil {
		return err
	}
	pages, follow := p.pages(monitor)
	p.HTTP.Handle("/", login.Guard(pages))
	p.Log.Info("dashboard ready", "url", p.HTTP.URL())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return follow(ctx) })
	g.Go(func() error { login.Follow(ctx); return nil })
	return errors.Join(g.Wait(), closeMonitor())
}
