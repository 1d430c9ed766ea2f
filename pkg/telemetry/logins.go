package telemetry

import "github.com/prometheus/client_golang/prometheus"

func newLogins() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "confhaul_dashboard_logins_total", Help: "Logins at the dashboard by how they ended.",
	}, []string{"result"})
}

// LoginDone counts a login at the dashboard: good, refused or limited.
func (m *Metrics) LoginDone(result string) { m.logins.WithLabelValues(result).Inc() }
