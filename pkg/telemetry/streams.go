package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const streamsTimeout = 5 * time.Second

// Streams is how the streams are at one moment.
type Streams struct {
	Fill, LargeFill float64       // of the stream of snapshots and of the store of large ones, 0 to 1
	Archiver        bool          // there is one, running or not; without it the rest means nothing
	Pending, Events uint64        // messages that it has not taken yet
	OldestAge       time.Duration // since the oldest of the pending snapshots came; 0: none is pending
}

var (
	fillDesc   = prometheus.NewDesc("confhaul_stream_fill_ratio", "How full the stream of snapshots and the store of large ones are; 1 refuses.", []string{"stream"}, nil)
	behindDesc = prometheus.NewDesc("confhaul_archiver_behind", "Messages that are not archived yet.", []string{"stream"}, nil)
	oldestDesc = prometheus.NewDesc("confhaul_archiver_oldest_unarchived_seconds", "Age of the oldest snapshot that is not archived yet; 0: all are.", nil, nil)
)

// streamsCollector asks for the streams at each scrape and keeps nothing.
type streamsCollector struct {
	observe atomic.Pointer[func(context.Context) (Streams, bool)]
}

// Describe lists the metrics.
func (c *streamsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{fillDesc, behindDesc, oldestDesc} {
		out <- d
	}
}

// Collect asks for the streams once and turns them into metrics.
func (c *streamsCollector) Collect(out chan<- prometheus.Metric) {
	observe := c.observe.Load()
	if observe == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), streamsTimeout) // a collector gets no context
	defer cancel()
	s, known := (*observe)(ctx)
	if !known {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(fillDesc, s.Fill, "snapshots")
	gauge(fillDesc, s.LargeFill, "large")
	if !s.Archiver {
		return
	}
	gauge(behindDesc, float64(s.Pending), "snapshots")
	gauge(behindDesc, float64(s.Events), "events")
	gauge(oldestDesc, max(s.OldestAge, 0).Seconds())
}

// ObserveStreams names the function that tells how the streams are; it is called as that of ObserveFleet, and says false
// where it cannot find out.
func (m *Metrics) ObserveStreams(streams func(context.Context) (Streams, bool)) {
	m.streams.observe.Store(&streams)
}

// Archived counts a snapshot by what became of it. Statuses come from the code.
func (m *Metrics) Archived(status string) { m.archived.WithLabelValues(status).Inc() }

// MirrorFailed says whether the git mirror is behind the archive because it could not be written or pushed.
func (m *Metrics) MirrorFailed(failed bool) {
	m.mirror.WithLabelValues().Set(oneIf(failed))
}
