package cli

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/confhaul/confhaul/pkg/bench"
)

// printBench prints a report in tables.
func (e *env) printBench(r bench.Report) {
	delay := "no"
	if r.Load.DelayS > 0 {
		delay = r.Load.Delay().String()
	}
	if r.Load.Slow {
		delay += " delay and a trickle"
	} else {
		delay += " delay"
	}
	_, _ = fmt.Fprintf(e.out, "%s on %s, %d KB each, %s, %s; %s, medians (lowest to highest)\n%s\n",
		plural(r.Load.Devices, "router"), plural(r.Load.Sites, "site"), r.Load.Size/1000, delay, plural(r.Load.Sessions, "session"), plural(r.Runs, "run"),
		r.Algorithms)
	e.printHead(r.Head)
	_, _ = fmt.Fprintln(e.out)
	e.printFigures(r)
	e.printStages(r)
	e.printParts(r)
	e.printCompared(r.Compared)
}

func (e *env) printFigures(r bench.Report) {
	rows := [][]string{}
	for _, f := range bench.Figures() {
		row := []string{f.Words}
		for _, kind := range bench.Kinds() {
			row = append(row, sampleText(r.Sweeps[kind][f.Name]))
		}
		rows = append(rows, row)
		switch f.Name {
		case "cpu_ms":
			rows = append(rows, []string{"  times the bare loop's", "1", sampleText(r.Ratios["cpu_ratio_first"]), sampleText(r.Ratios["cpu_ratio"])})
		case "devices_per_s":
			rows = append(rows, []string{"  times the bare loop's", "1", sampleText(r.Ratios["rate_ratio_first"]), sampleText(r.Ratios["rate_ratio"])})
		}
	}
	table(e.out, []string{"", "BARE LOOP", "FIRST SWEEP", "UNCHANGED"}, rows)
}

// sampleText is a median with its spread, and a dash where nothing was measured.
func sampleText(s bench.Sample) string {
	if len(s.Values) == 0 || s.Median == 0 && s.Max == 0 {
		return "-"
	}
	if len(s.Values) == 1 {
		return figureText(s.Median)
	}
	return fmt.Sprintf("%s (%s-%s)", figureText(s.Median), figureText(s.Min), figureText(s.Max))
}

// figureText has three digits that count.
func figureText(v float64) string {
	if v == 0 || math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', min(decimals, 4), 64)
}

func (e *env) printStages(r bench.Report) {
	names := []string{}
	for _, kind := range bench.Kinds() {
		for name := range r.Stages[kind] {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int { return stagePlace(a) - stagePlace(b) })
	rows := [][]string{}
	for _, name := range names {
		first, unchanged := r.Stages[bench.KindFirst][name], r.Stages[bench.KindUnchanged][name]
		rows = append(rows, []string{name, sampleText(first.P50), sampleText(first.P99), sampleText(unchanged.P50), sampleText(unchanged.P99)})
	}
	_, _ = fmt.Fprintln(e.out)
	table(e.out, []string{"STEP, MS", "FIRST P50", "P99", "UNCHANGED P50", "P99"}, rows)
}

// stagePlace is when a step comes in a backup; those that are not named come last.
func stagePlace(stage string) int {
	order := []string{"dial", "handshake", "login", "export", "prove", "normalize", "publish"}
	if i := slices.Index(order, stage); i >= 0 {
		return i
	}
	return len(order)
}

// printParts shows what CPU time goes into, and how much more of it the worker needs than the bare loop.
func (e *env) printParts(r bench.Report) {
	rows := [][]string{}
	for _, name := range bench.PartNames() {
		bare, first, unchanged := r.Parts[bench.KindBare][name], r.Parts[bench.KindFirst][name], r.Parts[bench.KindUnchanged][name]
		if max(bare, first, unchanged) == 0 {
			continue
		}
		rows = append(rows, []string{name, micros(bare), micros(first), micros(unchanged), fmt.Sprintf("%+.0f", unchanged-bare)})
	}
	_, _ = fmt.Fprintln(e.out)
	table(e.out, []string{"CPU PER DEVICE, US, BY PROFILE", "BARE LOOP", "FIRST SWEEP", "UNCHANGED", "OVER BARE"}, rows)
}

func micros(us float64) string {
	if us == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", us)
}

// printCompared shows what differs from a stored report, as benchstat does.
func (e *env) printCompared(all []bench.Compared) {
	if len(all) == 0 {
		return
	}
	rows, notes := [][]string{}, []string{}
	for _, c := range all {
		rows = append(rows, []string{
			c.Name, figureText(c.Old) + " ± " + c.OldSpread, figureText(c.New) + " ± " + c.NewSpread, c.Delta, c.Test,
		})
		for _, n := range c.Notes {
			if !slices.Contains(notes, n) {
				notes = append(notes, n)
			}
		}
	}
	_, _ = fmt.Fprintln(e.out)
	table(e.out, []string{"COMPARED", "STORED", "NOW", "DELTA", ""}, rows)
	for _, n := range notes {
		_, _ = fmt.Fprintln(e.out, n)
	}
}
