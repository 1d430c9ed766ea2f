package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/settings"
)

type benchOptions struct {
	load    bench.Load
	size    string
	delay   time.Duration
	runs    int
	compare string
	profile string
}

func (e *env) benchCmd() *cobra.Command {
	o := benchOptions{}
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a sweep over simulated routers beside a bare SSH loop",
		Long: `Measure what a sweep over simulated routers costs, beside a bare loop of the same SSH library that dials, logs in and reads
one export from each of them, with the same algorithms. In each run, in turns: the bare loop, a first sweep of confhaul's worker
(every snapshot is published), and a sweep of unchanged routers by a worker that has seen each before, as nearly every sweep
is. Simulator, bare loop, worker, scheduler, Redis and NATS are processes of their own, on loopback, with a NATS that syncs
every write, in a temporary directory (TMPDIR). A worker's figures are from the first task taken to the last outcome written;
its start is not in them. The parts of the CPU time come from one more run, with a profile.

With -o json the report can be stored, and a later one held against it with --compare, by benchstat's statistics: they see
nothing in less than four runs each, and give intervals from six on. Linux only.`,
		Example: `  confhaul bench --devices 1000 --size 100KB --sessions 100
  confhaul bench --runs 6 -o json > before.json
  confhaul bench --runs 6 --compare before.json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runBench(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.load.Devices, "devices", 1000, "number of routers")
	f.StringVar(&o.size, "size", "100KB", "`bytes` of each export, with KB, MB, KiB or MiB")
	f.IntVar(&o.load.Sessions, "sessions", 100, "sessions at once")
	f.DurationVar(&o.delay, "delay", 0, "`time` that each router takes before the first byte of its export")
	f.BoolVar(&o.load.Slow, "slow", false, "have each router print its export as a trickle, 256 bytes ten times a second")
	f.IntVar(&o.load.Sites, "sites", 1, "sites that the routers are dealt to, each with a queue of its own")
	f.IntVar(&o.runs, "runs", 3, "how often everything is measured")
	f.StringVar(&o.compare, "compare", "", "`file` with a report of -o json to compare with")
	f.StringVar(&o.profile, "profile", "", "`directory` in which to keep the profiles of CPU and allocations")
	cmd.AddCommand(e.benchPartCmd(), e.benchSlotsCmd(), e.benchIdleCmd())
	return cmd
}

const runsMax = 100

// read completes the options from the flags' texts, and reads what they name.
func (o *benchOptions) read() (stored *bench.Report, err error) {
	if o.load.Size, err = bench.ParseSize(o.size); err != nil {
		return nil, err
	}
	o.load.DelayS = o.delay.Seconds()
	if err := o.load.Check(); err != nil {
		return nil, err
	}
	if o.load.Sessions > settings.ConcurrencyMax {
		return nil, fmt.Errorf("--sessions %d: a worker has at most %d", o.load.Sessions, settings.ConcurrencyMax)
	}
	if o.runs < 1 || o.runs > runsMax {
		return nil, fmt.Errorf("--runs %d: use 1 to %d", o.runs, runsMax)
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o700); err != nil {
			return nil, err
		}
	}
	if o.compare == "" {
		return nil, nil
	}
	f, err := os.Open(o.compare)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it is only read
	r, err := bench.ReadReport(f)
	if err == nil {
		err = bench.SameLoad(r.Load, o.load)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.compare, err)
	}
	return &r, nil
}

func (e *env) runBench(ctx context.Context, o benchOptions) error {
	stored, err := o.read()
	if err != nil {
		return usage(err)
	}
	return benched(ctx, e, func(ctx context.Context) (bench.Report, error) {
		report, err := e.measure(ctx, o)
		if err == nil && stored != nil {
			report.Compared = bench.Compare(*stored, report)
		}
		return report, err
	}, e.printBench)
}

// benched measures and prints what came of it.
func benched[R any](ctx context.Context, e *env, measure func(context.Context) (R, error), text func(R)) error {
	if _, err := bench.UsageOf(os.Getpid()); err != nil {
		return err
	}
	report, err := measure(ctx)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		return err
	}
	if e.output == "json" {
		return printJSON(e.out, report)
	}
	text(report)
	return nil
}

// benchHead says what measures, and where.
func benchHead() bench.Head {
	return bench.Head{
		At: time.Now().UTC().Truncate(time.Second), Version: build().Version, Commit: build().Commit, Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(),
	}
}

// measure makes all runs. Whatever it has started has ended when it returns.
func (e *env) measure(ctx context.Context, o benchOptions) (r bench.Report, err error) {
	r = bench.Report{Head: benchHead(), Load: o.load}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b, err := newBenchLab(e, o.load, o.profile, cancel)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.startFleet(ctx); err != nil {
		return r, b.cause(ctx, err)
	}
	var runs []bench.Run
	for i := range o.runs {
		b.name = fmt.Sprintf("run %d of %d", i+1, o.runs)
		run, err := b.turn(ctx, false)
		if err != nil {
			return r, b.cause(ctx, err)
		}
		runs = append(runs, run)
	}
	b.name = "run with profile"
	if _, err := b.turn(ctx, true); err != nil {
		return r, b.cause(ctx, err)
	}
	shares, err := b.shares()
	if err != nil {
		return r, err
	}
	r.Redis, r.Algorithms = b.redisKind, b.algorithms
	r.Fill(runs, shares)
	return r, nil
}
