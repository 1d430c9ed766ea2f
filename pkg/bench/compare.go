package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Compared is one quantity of two reports, held against each other as benchstat does: medians with their 95 % intervals, and
// the Mann-Whitney U test at 5 %.
type Compared struct {
	Name      string   `json:"name"` // such as unchanged cpu_ms
	Old       float64  `json:"old"`
	New       float64  `json:"new"`
	OldSpread string   `json:"old_spread"` // half width of the interval in percent; ∞ where there are too few runs
	NewSpread string   `json:"new_spread"`
	Delta     string   `json:"delta"` // in percent; ~ where the test sees no difference
	P         float64  `json:"p"`
	Test      string   `json:"test"` // p and the numbers of runs
	Notes     []string `json:"notes,omitempty"`
}

const confidence = 0.95

// reportMax bounds a stored report, in bytes.
const reportMax = 16 << 20

// ReadReport reads what -o json has written.
func ReadReport(in io.Reader) (Report, error) {
	var r Report
	if err := json.NewDecoder(io.LimitReader(in, reportMax)).Decode(&r); err != nil {
		return r, fmt.Errorf("this is no report of bench -o json: %w", err)
	}
	switch {
	case r.V == 0 || r.Runs == 0:
		return r, errors.New("this is no report of bench -o json")
	case r.V != ReportVersion:
		return r, fmt.Errorf("this is version %d of a report; this program knows version %d", r.V, ReportVersion)
	}
	return r, nil
}

// SameLoad says why two loads cannot be compared; nil where they can.
func SameLoad(old, now Load) error {
	if old != now {
		return fmt.Errorf("the stored report is of another load: %d devices, %d bytes, %d sessions, %s delay, %d sites",
			old.Devices, old.Size, old.Sessions, old.Delay(), old.Sites)
	}
	return nil
}

// Compare holds the figures and ratios that both reports have against each other.
func Compare(old, now Report) []Compared {
	var out []Compared
	add := func(name string, a, b Sample) {
		if len(a.Values) > 0 && len(b.Values) > 0 {
			out = append(out, compare(name, a.Values, b.Values))
		}
	}
	for _, name := range []string{"cpu_ratio", "cpu_ratio_first", "rate_ratio", "rate_ratio_first"} {
		add(name, old.Ratios[name], now.Ratios[name])
	}
	for _, kind := range Kinds() {
		for _, f := range Figures() {
			add(string(kind)+" "+f.Name, old.Sweeps[kind][f.Name], now.Sweeps[kind][f.Name])
		}
	}
	return out
}

func compare(name string, old, now []float64) Compared {
	a := benchmath.NewSample(slices.Clone(old), &benchmath.DefaultThresholds)
	b := benchmath.NewSample(slices.Clone(now), &benchmath.DefaultThresholds)
	was, is := benchmath.AssumeNothing.Summary(a, confidence), benchmath.AssumeNothing.Summary(b, confidence)
	test := benchmath.AssumeNothing.Compare(a, b)
	c := Compared{
		Name: name, Old: round(was.Center), New: round(is.Center), OldSpread: was.PctRangeString(), NewSpread: is.PctRangeString(),
		Delta: test.FormatDelta(was.Center, is.Center), P: round(test.P), Test: test.String(),
	}
	for _, w := range slices.Concat(was.Warnings, is.Warnings, test.Warnings) {
		if !slices.Contains(c.Notes, w.Error()) {
			c.Notes = append(c.Notes, w.Error())
		}
	}
	if math.IsNaN(c.P) { // JSON has no such number
		c.P = 1
	}
	return c
}
