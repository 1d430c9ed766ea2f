package telemetry

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

const fleetTimeout = 5 * time.Second

// Fleet is how the fleet is at one moment.
type Fleet struct {
	Ages               []time.Duration           // since each device's last proven export began
	Never              int                       // devices that have none; not in Ages
	Stale              int                       // devices without a recent proven export
	OldestOverdue      time.Duration             // how late the latest device is; 0: none is
	ByStatus           map[string]int            // devices by backup.Status
	Blocked            map[string]int            // blocked devices by kind of fault
	PausedCredentials  []string                  // credentials that no device is tried with; their names come from the credentials file
	SitesWithoutWorker []string                  // sites that no worker serves
	HeldSites          []string                  // sites that are paused or whose window is closed
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
	staleDesc    = prometheus.NewDesc("confhaul_devices_stale", "Devices without a recent proven export, as confhaul stale lists them.", nil, nil)
	blockedDesc  = prometheus.NewDesc("confhaul_devices_blocked", "Blocked devices by the kind of fault that blocked them.", []string{"kind"}, nil)
	pausedDesc   = prometheus.NewDesc("confhaul_credential_paused", "1 for each credential that no device is tried with.", []string{"credential"}, nil)
	overdueDesc  = prometheus.NewDesc("confhaul_device_oldest_overdue_seconds", "How late the latest device is; 0: none is.", nil, nil)
	devicesDesc  = prometheus.NewDesc("confhaul_devices", "Devices by status.", []string{"status"}, nil)
	noWorkerDesc = prometheus.NewDesc("confhaul_site_without_worker", "1 for each site that no worker serves.", []string{"site"}, nil)
	heldDesc     = prometheus.NewDesc("confhaul_site_held", "1 for each site that is paused or whose window is closed.", []string{"site"}, nil)
)

// fleetCollector asks for the fleet at each scrape and keeps nothing.
type fleetCollector struct {
	observe atomic.Pointer[func(context.Context) Fleet]
}

// Describe lists the metrics.
func (c *fleetCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		tasksDesc, agesDesc, neverDesc, staleDesc, overdueDesc, devicesDesc, blockedDesc, pausedDesc, noWorkerDesc, heldDesc,
	} {
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
	gauge(staleDesc, float64(f.Stale))
	gauge(overdueDesc, max(f.OldestOverdue, 0).Seconds())
	for status, n := range withZeros(f.ByStatus, backup.StatusOK, backup.StatusFailing, backup.StatusBlocked, backup.StatusPending) {
		gauge(devicesDesc, float64(n), status)
	}
	for kind, n := range withZeros(f.Blocked, fault.Auth, fault.HostKey) {
		gauge(blockedDesc, float64(n), kind)
	}
	ones := func(d *prometheus.Desc, names []string) {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) { // the same series twice would fail the whole scrape
			gauge(d, 1, name)
		}
	}
	ones(pausedDesc, f.PausedCredentials)
	ones(noWorkerDesc, f.SitesWithoutWorker)
	ones(heldDesc, f.HeldSites)
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

// withZeros adds a 0 for each known word that nothing was counted for: an alert on a series that comes and goes is blind.
func withZeros[K ~string](counts map[string]int, known ...K) map[string]int {
	all := map[string]int{}
	for _, k := range known {
		all[string(k)] = 0
	}
	maps.Copy(all, counts)
	return all
}
