package bench

import (
	"math"
	"slices"
	"time"
)

// Sample is one quantity over the runs.
type Sample struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // one for each run, in their order
}

// NewSample summarizes; without values it is all 0.
func NewSample(values []float64) Sample {
	s := Sample{Values: make([]float64, 0, len(values))}
	for _, v := range values {
		s.Values = append(s.Values, round(v))
	}
	if len(s.Values) == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(s.Values))
	n := len(sorted)
	s.Min, s.Max, s.Median = sorted[0], sorted[n-1], round((sorted[(n-1)/2]+sorted[n/2])/2)
	return s
}

// round keeps four digits behind the point, which is more than any of the quantities is good for.
func round(v float64) float64 { return math.Round(v*1e4) / 1e4 }

// Kind is which sweep it is.
type Kind string

// The kinds.
const (
	KindBare      Kind = "bare"      // the loop without confhaul
	KindFirst     Kind = "first"     // every router is new, every snapshot published
	KindUnchanged Kind = "unchanged" // every router is known, also to the worker, and has not changed
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{KindBare, KindFirst, KindUnchanged} }

// Figure is a quantity of a sweep.
type Figure struct {
	Name    string // as in JSON
	Words   string // for people
	Product bool   // of confhaul's sweeps only
	of      func(l Load, s Sweep) float64
}

// Figures lists the quantities in the order in which they are printed.
func Figures() []Figure {
	perDevice := func(of func(Sweep) float64) func(Load, Sweep) float64 {
		return func(_ Load, s Sweep) float64 { return of(s) / float64(max(s.Devices, 1)) }
	}
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	ofMachine := func(of func(Sweep) time.Duration) func(Load, Sweep) float64 {
		return func(_ Load, s Sweep) float64 { return 100 * float64(of(s)) / float64(max(s.Machine.All, 1)) }
	}
	return []Figure{
		{"cpu_ms", "CPU per device, ms", false, perDevice(func(s Sweep) float64 { return ms(s.CPU) })},
		{"devices_per_s", "devices per second", false, func(_ Load, s Sweep) float64 { return perSecond(s.Devices, s.Drain) }},
		{"drain_s", "time to drain, s", false, func(_ Load, s Sweep) float64 { return s.Drain.Seconds() }},
		{"idle_mb", "resident memory before, MB", false, func(_ Load, s Sweep) float64 { return float64(s.Idle) / 1e6 }},
		{"peak_mb", "resident memory at most, MB", false, func(_ Load, s Sweep) float64 { return float64(s.Peak) / 1e6 }},
		{"session_kb", "memory per session in flight, KB", false, func(l Load, s Sweep) float64 {
			return float64(s.Peak-s.Idle) / 1e3 / float64(max(l.AtOnce(), 1))
		}},
		{"mallocs", "allocations per device", false, perDevice(func(s Sweep) float64 { return s.Mallocs })},
		{"alloc_kb", "allocated per device, KB", false, perDevice(func(s Sweep) float64 { return s.AllocBytes / 1e3 })},
		{"export_kb", "export per device, KB", false, perDevice(func(s Sweep) float64 { return float64(s.Bytes) / 1e3 })},
		{"asks_per_s", "tasks made per second", true, func(_ Load, s Sweep) float64 { return perSecond(s.Devices, s.Ask) }},
		{"redis_cpu_ms", "CPU of Redis per device, ms", true, perDevice(func(s Sweep) float64 { return ms(s.Redis) })},
		{"redis_tasks_per_s", "tasks per second of Redis' CPU", true, func(_ Load, s Sweep) float64 { return perSecond(s.Devices, s.Redis) }},
		{"nats_cpu_ms", "CPU of NATS per device, ms", true, perDevice(func(s Sweep) float64 { return ms(s.NATS) })},
		{"scheduler_cpu_ms", "CPU of the scheduler per device, ms", true, perDevice(func(s Sweep) float64 { return ms(s.Scheduler) })},
		{"simulator_cpu_ms", "CPU of the simulator per device, ms", false, perDevice(func(s Sweep) float64 { return ms(s.Simulator) })},
		{"idle_pct", "the machine's CPUs idle, %", false, ofMachine(func(s Sweep) time.Duration { return s.Machine.Idle })},
		{"others_pct", "the machine's CPUs taken by others, %", false, ofMachine(Sweep.others)},
	}
}

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Head is what every report begins with.
type Head struct {
	V        int       `json:"v"`
	At       time.Time `json:"at"`
	Version  string    `json:"version"`
	Commit   string    `json:"commit,omitempty"`
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
	CPUs     int       `json:"cpus"`
	Redis    string    `json:"redis"` // server, or mini where no redis-server is installed
}

// ReportVersion changes where a field of Report changes its meaning.
const ReportVersion = 1

// Report is a finished benchmark, as -o json has it. Its fields stay.
type Report struct {
	Head
	Load       Load       `json:"load"`
	Runs       int        `json:"runs"`
	Algorithms Algorithms `json:"algorithms"` // of every connection, of both sides

	// Medians: milliseconds of CPU per device, and how many times the bare loop's the worker's is in the same run.
	BareCPUms     float64 `json:"bare_cpu_ms"`
	CPURatio      float64 `json:"cpu_ratio"`       // of the unchanged sweep
	CPURatioFirst float64 `json:"cpu_ratio_first"` // of the first sweep
	RateRatio     float64 `json:"rate_ratio"`      // devices per second in the unchanged sweep over the bare loop's

	Ratios map[string]Sample             `json:"ratios"` // cpu_ratio, cpu_ratio_first, rate_ratio, rate_ratio_first
	Sweeps map[Kind]map[string]Sample    `json:"sweeps"` // by the name of the figure
	Stages map[Kind]map[string]StageSpan `json:"stages"` // of confhaul's sweeps, by step of the backup
	Parts  map[Kind]map[string]float64   `json:"parts"`  // microseconds of CPU per device, from a run of its own with a profile

	Compared []Compared `json:"compared,omitempty"`
}

// StageSpan is how long a step takes, over the runs.
type StageSpan struct {
	P50 Sample `json:"p50_ms"`
	P99 Sample `json:"p99_ms"`
}

// Run is one turn of all kinds.
type Run map[Kind]Sweep

// Fill computes everything but the head of the report from the runs and from the shares of the profiles.
func (r *Report) Fill(runs []Run, shares map[Kind]map[string]float64) {
	r.V, r.Runs = ReportVersion, len(runs)
	r.Sweeps, r.Stages, r.Parts = map[Kind]map[string]Sample{}, map[Kind]map[string]StageSpan{}, map[Kind]map[string]float64{}
	for _, kind := range Kinds() {
		r.Sweeps[kind] = map[string]Sample{}
		for _, f := range Figures() {
			if f.Product && kind == KindBare {
				continue
			}
			r.Sweeps[kind][f.Name] = over(runs, func(run Run) float64 { return f.of(r.Load, run[kind]) })
		}
		if kind != KindBare {
			r.Stages[kind] = stageSpans(runs, kind)
		}
		r.Parts[kind] = map[string]float64{}
		for name, share := range shares[kind] {
			r.Parts[kind][name] = round(share * 1e3 * r.Sweeps[kind]["cpu_ms"].Median)
		}
	}
	ratio := func(kind Kind, of func(Sweep) float64) Sample {
		return over(runs, func(run Run) float64 {
			if bare := of(run[KindBare]); bare > 0 {
				return of(run[kind]) / bare
			}
			return 0
		})
	}
	cpu := func(s Sweep) float64 { return float64(s.CPU) }
	rate := func(s Sweep) float64 { return perSecond(s.Devices, s.Drain) }
	r.Ratios = map[string]Sample{
		"cpu_ratio": ratio(KindUnchanged, cpu), "cpu_ratio_first": ratio(KindFirst, cpu),
		"rate_ratio": ratio(KindUnchanged, rate), "rate_ratio_first": ratio(KindFirst, rate),
	}
	r.BareCPUms = r.Sweeps[KindBare]["cpu_ms"].Median
	r.CPURatio, r.CPURatioFirst, r.RateRatio = r.Ratios["cpu_ratio"].Median, r.Ratios["cpu_ratio_first"].Median, r.Ratios["rate_ratio"].Median
}

func over(runs []Run, of func(Run) float64) Sample {
	values := make([]float64, 0, len(runs))
	for _, run := range runs {
		values = append(values, of(run))
	}
	return NewSample(values)
}

// stageSpans has the steps that every run has: a step that one of them lacks has no spread.
func stageSpans(runs []Run, kind Kind) map[string]StageSpan {
	out := map[string]StageSpan{}
	if len(runs) == 0 {
		return out
	}
	for stage := range runs[0][kind].Stages {
		if slices.ContainsFunc(runs, func(run Run) bool { _, has := run[kind].Stages[stage]; return !has }) {
			continue
		}
		out[stage] = StageSpan{
			P50: over(runs, func(run Run) float64 { return run[kind].Stages[stage].P50 }),
			P99: over(runs, func(run Run) float64 { return run[kind].Stages[stage].P99 }),
		}
	}
	return out
}
