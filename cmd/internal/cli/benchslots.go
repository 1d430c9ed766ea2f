package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/settings"
)

type slotsOptions struct {
	load     bench.Load
	size     string
	delay    time.Duration
	interval time.Duration
	rounds   int
	workers  int
}

func (e *env) benchSlotsCmd() *cobra.Command {
	o := slotsOptions{}
	cmd := &cobra.Command{
		Use: "slots", Short: "Measure a whole confhaul that backs a simulated fleet up by its own timetable",
		Long: `Measure a whole confhaul that backs a simulated fleet up by its own timetable: simulator, Redis, NATS (which syncs every write),
scheduler, workers and archiver, each a process of its own, in a temporary directory (TMPDIR). At first nothing is known of any
router; their first slots are spread over the first interval, and after that each has one slot per interval. A round is one
interval. Choose devices and interval so that the machine can keep up: what it cannot is late, and shows as such. Linux only.`,
		Example: `  confhaul bench slots --devices 100000 --sites 10 --interval 10m --rounds 3
  confhaul bench slots --devices 1000 --interval 30s -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runSlots(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.load.Devices, "devices", 1000, "number of routers")
	f.StringVar(&o.size, "size", "10KB", "`bytes` of each export, with KB, MB, KiB or MiB")
	f.DurationVar(&o.delay, "delay", 0, "`time` that each router takes before the first byte of its export")
	f.IntVar(&o.load.Sites, "sites", 1, "sites that the routers are dealt to, each with a queue of its own")
	f.IntVar(&o.load.Sessions, "sessions", 200, "sessions at once of each worker")
	f.IntVar(&o.workers, "workers", 1, "number of workers")
	f.DurationVar(&o.interval, "interval", time.Minute, "`time` between two backups of a router, in whole seconds")
	f.IntVar(&o.rounds, "rounds", 3, "intervals that are measured")
	return cmd
}

const (
	workersMax       = 100
	slotRoundsMax    = 1000
	slotsIntervalMax = 24 * time.Hour
)

func (o *slotsOptions) read() (err error) {
	if o.load.Size, err = bench.ParseSize(o.size); err != nil {
		return err
	}
	o.load.DelayS = o.delay.Seconds()
	switch err := o.load.Check(); {
	case err != nil:
		return err
	case o.load.Sessions > settings.ConcurrencyMax:
		return fmt.Errorf("--sessions %d: a worker has at most %d", o.load.Sessions, settings.ConcurrencyMax)
	case o.workers < 1 || o.workers > workersMax:
		return fmt.Errorf("--workers %d: use 1 to %d", o.workers, workersMax)
	case o.interval < settings.IntervalMin || o.interval > slotsIntervalMax || o.interval%time.Second != 0:
		return fmt.Errorf("--interval %s: use whole seconds, %s to %s", o.interval, settings.IntervalMin, slotsIntervalMax)
	case o.rounds < 1 || o.rounds > slotRoundsMax:
		return fmt.Errorf("--rounds %d: use 1 to %d", o.rounds, slotRoundsMax)
	}
	return nil
}

func (e *env) runSlots(ctx context.Context, o slotsOptions) error {
	if err := o.read(); err != nil {
		return usage(err)
	}
	return benched(ctx, e, func(ctx context.Context) (bench.SlotsReport, error) { return e.measureSlots(ctx, o) }, e.printSlots)
}

// measureSlots runs everything. Whatever it has started has ended when it returns.
func (e *env) measureSlots(ctx context.Context, o slotsOptions) (r bench.SlotsReport, err error) {
	r = bench.SlotsReport{Head: benchHead(), Load: o.load, Workers: o.workers, IntervalS: o.interval.Seconds()}
	r.V = bench.SlotsVersion
	err = e.inHouse(ctx, o.load, "slots", o.settings(), (*benchLab).startFleet, func(ctx context.Context, h *benchHouse) error {
		r.Redis = h.redisKind
		return h.slots(ctx, o, &r)
	})
	return r, err
}

func (o slotsOptions) settings() []string {
	return []string{
		fmt.Sprintf("interval: %s", o.interval), fmt.Sprintf("jitter: {min: 0s, max: %s}", o.interval), "archive: {dir: archive}",
	}
}

// slots fills the report round by round.
func (h *benchHouse) slots(ctx context.Context, o slotsOptions, r *bench.SlotsReport) error {
	if err := h.startAll(ctx, o.workers); err != nil {
		return err
	}
	first, err := h.moment(ctx)
	if err != nil {
		return err
	}
	h.targets = nil // a large fleet has many, and they stand in the registry
	s := slotsWatch{house: h, o: o, report: r, name: fmt.Sprintf("round 1 of %d", o.rounds), all: []bench.Moment{first}}
	look := slotsWait(o.interval)
	for s.last().Devices < float64(o.load.Devices) {
		if err := s.look(ctx, look); err != nil {
			return err
		}
	}
	if err := h.register(ctx); err != nil {
		return err
	}
	began := h.devices[0].FirstSeen
	for _, d := range h.devices {
		if d.FirstSeen.Before(began) {
			began = d.FirstSeen
		}
	}
	for i := range o.rounds {
		s.name = fmt.Sprintf("round %d of %d", i+1, o.rounds)
		if err := s.watch(ctx, began.Add(time.Duration(i+1)*o.interval), i+1 == o.rounds); err != nil {
			return err
		}
		round := bench.NewRound(s.all[s.from:])
		if err := h.judge(ctx, &round, o.interval); err != nil {
			return err
		}
		r.Rounds, s.from = append(r.Rounds, round), len(s.all)-1
	}
	r.All = bench.NewRound(s.all)
	final := r.Rounds[len(r.Rounds)-1]
	r.All.LateP50S, r.All.LateP99S, r.All.NotGood, r.All.Reasons, r.All.Stored = final.LateP50S, final.LateP99S, final.NotGood, final.Reasons, final.Stored
	return nil
}

// slotsWatch looks at everything now and then.
type slotsWatch struct {
	house  *benchHouse
	o      slotsOptions
	report *bench.SlotsReport
	name   string         // of the round
	from   int            // its first look
	all    []bench.Moment // from the start of the scheduler
}

// slotsLook is the time between two looks.
const slotsLook = 5 * time.Second

// slotsWait is that time, or less where the interval is short.
func slotsWait(interval time.Duration) time.Duration { return min(slotsLook, interval/4) }

func (s *slotsWatch) last() bench.Moment { return s.all[len(s.all)-1] }

// watch looks until a round ends. The last one goes on, for one more interval at most, until the fleet is backed up.
func (s *slotsWatch) watch(ctx context.Context, end time.Time, last bool) error {
	for {
		wait := slotsWait(s.o.interval)
		if left := time.Until(end); left > 0 {
			wait = min(wait, left)
		}
		if err := s.look(ctx, wait); err != nil {
			return err
		}
		late := s.last().At.Sub(end)
		if late >= 0 && (!last || s.report.FreshS > 0 || late >= s.o.interval) {
			return nil
		}
	}
}

// look waits, looks and tells.
func (s *slotsWatch) look(ctx context.Context, wait time.Duration) error {
	if err := rest(ctx, wait); err != nil {
		return err
	}
	m, err := s.house.moment(ctx)
	if err != nil {
		return err
	}
	s.all = append(s.all, m)
	if s.report.FreshS == 0 && !m.Fresh(s.o.load.Devices) {
		s.report.FreshS = m.At.Sub(s.all[0].At).Round(time.Millisecond).Seconds()
	}
	s.tell(s.all[s.from:])
	return nil
}

func (s *slotsWatch) tell(moments []bench.Moment) {
	m, r := moments[len(moments)-1], bench.NewRound(moments[max(0, len(moments)-2):])
	s.house.progress.now("%s: %d backed up, %.0f/s, %d failed; %.0f of %.0f routers never, the latest %.0f s late; %d snapshots to archive; MB: worker %.0f, scheduler %.0f, archiver %.0f, redis %.0f, nats %.0f",
		s.name, int(m.Good-moments[0].Good), r.DevicesPerS, r.Total(), m.Never, m.Devices, m.Overdue, r.Unarchived,
		r.Processes[bench.ProcessWorker].Last, r.Processes[bench.ProcessScheduler].Last, r.Processes[bench.ProcessArchiver].Last,
		r.Processes[bench.ProcessRedis].Last, r.Processes[bench.ProcessNATS].Last)
}
