package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Metrics are the samples of one scrape, by name and labels as they are printed.
type Metrics map[string]float64

const scrapeTimeout = time.Minute // a machine whose CPUs all are taken answers late

// Scrape asks a process of confhaul for its metrics.
func Scrape(ctx context.Context, address string) (Metrics, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, scrapeTimeout, fmt.Errorf("no metrics within %s", scrapeTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics at %s: %s", address, resp.Status)
	}
	return ReadMetrics(resp.Body)
}

// ReadMetrics reads Prometheus' text format, as far as confhaul writes it: no timestamps, no blanks in labels.
func ReadMetrics(r io.Reader) (Metrics, error) {
	m := Metrics{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, text, ok := cutLast(line, " ")
		if !ok {
			return nil, fmt.Errorf("read metrics: %q is no sample", line)
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %w", err)
		}
		m[name] = v
	}
	return m, lines.Err()
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Since is what was added since an earlier scrape of the same process.
func (m Metrics) Since(earlier Metrics) Metrics {
	d := maps.Clone(m)
	for name := range d {
		d[name] -= earlier[name]
	}
	return d
}

// StageTimes are quantiles of the time that one step of a backup takes, in milliseconds.
type StageTimes struct{ P50, P99 float64 }

const stageBuckets = "confhaul_worker_stage_seconds_bucket{stage="

// Stages are the times of each step.
func (m Metrics) Stages() map[string]StageTimes {
	byStage := map[string]histogram{}
	for name, count := range m {
		rest, ok := strings.CutPrefix(name, stageBuckets)
		if !ok {
			continue
		}
		stage, bound, ok := strings.Cut(strings.TrimSuffix(rest, "}"), ",le=")
		upper, err := strconv.ParseFloat(strings.Trim(bound, `"`), 64)
		if !ok || err != nil {
			continue // not one of the shape that we write
		}
		stage = strings.Trim(stage, `"`)
		byStage[stage] = append(byStage[stage], bucket{upper, count})
	}
	out := map[string]StageTimes{}
	for stage, h := range byStage {
		slices.SortFunc(h, func(a, b bucket) int { return int(math.Copysign(1, a.upper-b.upper)) })
		if h[len(h)-1].count > 0 {
			out[stage] = StageTimes{P50: 1e3 * h.quantile(0.5), P99: 1e3 * h.quantile(0.99)}
		}
	}
	return out
}

// bucket counts what took up to upper seconds.
type bucket struct{ upper, count float64 }

// histogram is buckets in order, each with the counts of those before it.
type histogram []bucket

// quantile takes the values of a bucket to lie evenly in it, as Prometheus does; of the last one, which has no upper bound, it
// knows only the lower.
func (h histogram) quantile(q float64) float64 {
	rank := q * h[len(h)-1].count
	lower, below := 0.0, 0.0
	for _, b := range h {
		if b.count >= rank {
			if math.IsInf(b.upper, 1) {
				return lower
			}
			return lower + (b.upper-lower)*(rank-below)/(b.count-below)
		}
		lower, below = b.upper, b.count
	}
	return lower
}
