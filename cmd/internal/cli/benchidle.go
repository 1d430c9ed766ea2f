package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/settings"
)

type idleOptions struct {
	devices, sites int
	lasts          time.Duration
}

func (e *env) benchIdleCmd() *cobra.Command {
	o := idleOptions{}
	cmd := &cobra.Command{
		Use: "idle", Short: "Measure what confhaul costs while nothing is due",
		Long: `Measure what confhaul costs while nothing is due: a scheduler, a worker that serves all sites, an archiver, Redis and NATS,
each a process of its own, and an inventory of routers whose first slots are weeks away. Linux only.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runIdle(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.devices, "devices", 2000, "number of routers")
	f.IntVar(&o.sites, "sites", 200, "sites that the routers are dealt to, each with a queue of its own")
	f.DurationVar(&o.lasts, "for", time.Minute, "`time` that is measured")
	return cmd
}

// idleSettle is how long at most everything may come to rest before it is measured; no longer than that itself lasts.
const idleSettle = 15 * time.Second

func (e *env) runIdle(ctx context.Context, o idleOptions) error {
	load := bench.Load{Devices: o.devices, Sites: o.sites, Sessions: settings.Default().Concurrency, Size: bench.SizeMin}
	err := load.Check()
	if err == nil && (o.lasts < time.Second || o.lasts > benchStepTimeout) {
		err = fmt.Errorf("--for %s: use %s to %s", o.lasts, time.Second, benchStepTimeout)
	}
	if err != nil {
		return usage(err)
	}
	return benched(ctx, e, func(ctx context.Context) (bench.IdleReport, error) {
		r := bench.IdleReport{Head: benchHead(), Sites: o.sites, Devices: o.devices}
		r.V = bench.IdleVersion
		err := e.inHouse(ctx, load, "idle", idleSettings, (*benchLab).inventTargets, func(ctx context.Context, h *benchHouse) error {
			r.Redis = h.redisKind
			return h.idle(ctx, o, &r)
		})
		return r, err
	}, e.printIdle)
}

var idleSettings = append([]string{"archive: {dir: archive}"}, neverDue...)

// inventTargets makes routers that nobody dials.
func (b *benchLab) inventTargets(context.Context) error {
	sites := b.load.SiteNames()
	for i := range b.load.Devices {
		n := i + 1
		id, address := fmt.Sprintf("router-%04d", n), fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)
		b.targets = append(b.targets, bench.Target{ID: id, Name: id, Address: address, Port: device.DefaultPort, Site: sites[i%len(sites)]})
	}
	return nil
}

func (h *benchHouse) idle(ctx context.Context, o idleOptions, r *bench.IdleReport) error {
	if err := h.startAll(ctx, 1); err != nil {
		return err
	}
	if err := h.register(ctx); err != nil {
		return err
	}
	if err := h.awaitServed(ctx); err != nil {
		return err
	}
	h.progress.step("idle: coming to rest")
	if err := rest(ctx, min(idleSettle, o.lasts)); err != nil {
		return err
	}
	h.progress.step("idle: measuring for %s", o.lasts)
	before, err := h.traffic(ctx)
	if err != nil {
		return err
	}
	first, err := h.moment(ctx)
	if err != nil {
		return err
	}
	if err := rest(ctx, o.lasts); err != nil {
		return err
	}
	last, err := h.moment(ctx)
	if err != nil {
		return err
	}
	after, err := h.traffic(ctx)
	if err == nil {
		r.Fill(first, last, before, after)
	}
	return err
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
