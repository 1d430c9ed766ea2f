package telemetry

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	scrapesMax    = 4                // at once; more are told to come back
	scrapeTimeout = 30 * time.Second // of one
)

// Metrics are all that a process shows on /metrics, in a registry of its own; deployments/docs/metrics.md lists them, and a
// test holds it to that. Labels are bounded: sites, credentials, results, kinds of fault, stages, statuses and task states,
// never a device. What ObserveFleet, ObserveStreams and the others tell of is absent before. Methods are safe for concurrent
// use.
type Metrics struct {
	registry *prometheus.Registry
	backups  *prometheus.CounterVec
	stages   *prometheus.HistogramVec
	sessions *prometheus.GaugeVec
	archived *prometheus.CounterVec
	logins   *prometheus.CounterVec
	mirror   *prometheus.GaugeVec // without labels, so that it is absent where there is no mirror
	fleet    fleetCollector
	streams  streamsCollector
	process  processMetrics
}

// NewMetrics makes the metrics of one process.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		backups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "confhaul_worker_backups_total", Help: "Backups by how they ended; kind is the kind of fault.",
		}, []string{"site", "result", "kind"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "confhaul_worker_stage_seconds", Help: "Time of each step of a backup.",
			// From a step in memory to the deadline of a whole backup: proof and normal form of an export take less than a
			// millisecond, and so does a dial on a local network.
			Buckets: []float64{
				0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
			},
		}, []string{"stage"}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "confhaul_worker_sessions", Help: "Open SSH sessions.",
		}, []string{"site"}),
		logins: newLogins(),
		archived: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "confhaul_archiver_snapshots_total", Help: "Snapshots by what became of them.",
		}, []string{"status"}),
		mirror: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "confhaul_archiver_mirror_failed", Help: "1 while the git mirror cannot be written or pushed.",
		}, nil),
	}
	m.registry.MustRegister(m.backups, m.stages, m.sessions, m.archived, m.mirror, m.logins, &m.fleet, &m.streams,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	m.registry.MustRegister(m.process.init()...)
	return m
}

// BackupDone counts a backup; kind is "" for a good one.
func (m *Metrics) BackupDone(site string, result backup.Result, kind fault.Kind) {
	m.backups.WithLabelValues(site, string(result), string(kind)).Inc()
}

// StageDone records the time of one step. Names come from the code, never from a device.
func (m *Metrics) StageDone(name string, took time.Duration) {
	m.stages.WithLabelValues(name).Observe(took.Seconds())
}

// SessionOpened counts a session to a device of site; SessionClosed must follow.
func (m *Metrics) SessionOpened(site string) { m.sessions.WithLabelValues(site).Inc() }

// SessionClosed takes back what SessionOpened counted.
func (m *Metrics) SessionClosed(site string) { m.sessions.WithLabelValues(site).Dec() }

// ObserveFleet names the function that tells how the fleet is. It is called at each scrape, by several at once, with a
// context that ends after 5 s; what it cannot find out in time it leaves out. A later call replaces the function.
func (m *Metrics) ObserveFleet(fleet func(context.Context) Fleet) { m.fleet.observe.Store(&fleet) }

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry: m.registry, MaxRequestsInFlight: scrapesMax, Timeout: scrapeTimeout,
	})
}
