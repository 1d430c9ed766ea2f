package telemetry

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/confhaul/confhaul/pkg/backup"
)

const fleetTimeout = 5 * time.Second

// Fleet is how the fleet is at one moment.
type Fleet struct {
	Ages               []time.Duration           // since each device's last proven export began
	Never              int                       // devices that have none; not in Ages
	OldestOverdue      time.Duration             // how late the latest device is; 0: none is
	ByStatus           map[string]int            // devices by backup.Status
	SitesWithoutWorker []string                  // sites that no worker serves
	Tasks              map[string]map[string]int // by site and task state
}

// ageBounds are an hour to a month; 26 h is a day and the two hours in which a daily backup may be late.
var ageBounds = []time.Duration{
	time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 26 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour,
}

var (
	tasksDesc = prometheus.NewDesc("confhaul_queue_tasks", "Tasks in the queues.", []string{"site", "state"}, nil)
	agesDesc  = prometheus.NewDesc("confhaul_device_backup_age_seconds",
		"Age of each device's last proven export; devices without one are in confhaul_devices_never_backed_up.", nil, nil)
	neverDesc    = prometheus.NewDesc("confhaul_devices_never_backed_up", "Devices without any proven export.", nil, nil)
	overdueDesc  = prometheus.NewDesc("confhaul_device_oldest_overdue_seconds", "How late the latest device is; 0: none is.", nil, nil)
	devicesDesc  = prometheus.NewDesc("confhaul_devices", "Devices by status.", []string{"status"}, nil)
	noWorkerDesc = prometheus.NewDesc("confhaul_site_without_worker", "1 for each site that no worker serves.", []string{"site"}, nil)
)

// fleetCollector asks for the fleet at each scrape and keeps nothing.
type fleetCollector struct {
	observe atomic.Pointer[func(context.Context) Fleet]
}

// Describe lists the metrics.
func (c *fleetCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{tasksDesc, agesDesc, neverDesc, overdueDesc, devicesDesc, noWorkerDesc} {
		out <- d
	}
}

// Collect asks for the fleet once and turns it into metrics.
func (c *fleetCollector) Collect(out chan<- prometheus.Metric) {
	observe := c.observe.Load()
	if observe == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), fleetTimeout) // a collector gets no context
	defer cancel()
	f := (*observe)(ctx)

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counts, sum := ageBuckets(f.Ages)
	out <- prometheus.MustNewConstHistogram(agesDesc, uint64(len(f.Ages)), sum, counts)
	gauge(neverDesc, float64(f.Never))
	gauge(overdueDesc, max(f.OldestOverdue, 0).Seconds())
	for status, n := range withKnownStatuses(f.ByStatus) {
		gauge(devicesDesc, float64(n), status)
	}
	// The same series twice would fail the whole scrape.
	for _, site := range slices.Compact(slices.Sorted(slices.Values(f.SitesWithoutWorker))) {
		gauge(noWorkerDesc, 1, site)
	}
	for site, states := range f.Tasks {
		for state, n := range states {
			gauge(tasksDesc, float64(n), site, state)
		}
	}
}

// ageBuckets counts, for each bound in seconds, the ages up to it, and adds all ages up in seconds. A negative age (clocks
// differ) is 0.
func ageBuckets(ages []time.Duration) (counts map[float64]uint64, sum float64) {
	counts = make(map[float64]uint64, len(ageBounds))
	for _, bound := range ageBounds {
		counts[bound.Seconds()] = 0
	}
	for _, age := range ages {
		age = max(age, 0)
		sum += age.Seconds()
		for _, bound := range ageBounds {
			if age <= bound {
				counts[bound.Seconds()]++
			}
		}
	}
	return counts, sum
}

// withKnownStatuses adds a 0 for each status that no device has: an alert on a series that comes and goes is blind.
func withKnownStatuses(by map[string]int) map[string]int {
	all := map[string]int{}
	for _, s := range []backup.Status{backup.StatusOK, backup.StatusFailing, backup.StatusBlocked, backup.StatusPending} {
		all[string(s)] = 0
	}
	for s, n := range by {
		all[s] = n
	}
	return all
}
