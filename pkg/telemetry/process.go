package telemetry

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// release is the version, which the linker sets where a package or an image is built.
var release string

// Build says what this program was made of.
type Build struct {
	Version  string // "devel" where it is no release
	Revision string // of the repository; "" where it is not known
	Go       string
}

// ReadBuild reads what the compiler left in the program.
func ReadBuild() Build {
	b := Build{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	switch v := info.Main.Version; {
	case release != "":
		b.Version = release
	case v != "" && v != "(devel)":
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

// processMetrics are what every process tells of itself. Those without labels are vectors, so that they are absent where
// nothing is known.
type processMetrics struct {
	build     *prometheus.GaugeVec
	clock     *prometheus.GaugeVec
	inventory *prometheus.GaugeVec
	ready     readyCollector
}

func (m *processMetrics) init() []prometheus.Collector {
	m.build = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "confhaul_build_info", Help: "1, with what the program was made of.",
	}, []string{"version", "revision", "goversion"})
	m.clock = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "confhaul_clock_skew_seconds", Help: "How far this machine's clock is ahead of Redis'.",
	}, nil)
	m.inventory = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "confhaul_inventory_in_force", Help: "1 while the inventory file is the one in force; 0 while it is bad, refused, or not that of the other schedulers.",
	}, nil)
	b := ReadBuild()
	m.build.WithLabelValues(b.Version, b.Revision, b.Go).Set(1)
	return []prometheus.Collector{m.build, m.clock, m.inventory, &m.ready}
}

// ClockSkew records how far this machine's clock is ahead of Redis'.
func (m *Metrics) ClockSkew(ahead time.Duration) {
	m.process.clock.WithLabelValues().Set(ahead.Seconds())
}

// InventoryInForce says whether the inventory file, as it stands on disk, is the one in force.
func (m *Metrics) InventoryInForce(yes bool) { m.process.inventory.WithLabelValues().Set(oneIf(yes)) }

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

var readyDesc = prometheus.NewDesc("confhaul_process_ready", "1 for each condition of readiness that is well, 0 for one that is not.", []string{"condition"}, nil)

// readyCollector shows what /readyz tells. The names of conditions come from the code.
type readyCollector struct {
	ready atomic.Pointer[Ready]
}

// Describe lists the metric.
func (c *readyCollector) Describe(out chan<- *prometheus.Desc) { out <- readyDesc }

// Collect turns the conditions into metrics.
func (c *readyCollector) Collect(out chan<- prometheus.Metric) {
	ready := c.ready.Load()
	if ready == nil {
		return
	}
	for _, condition := range ready.Status() {
		out <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, oneIf(condition.Err == nil), condition.Name)
	}
}
