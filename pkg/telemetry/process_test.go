package telemetry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestProcessMetrics(t *testing.T) {
	t.Parallel()
	m, ready := NewMetrics(), NewReady("redis")
	s := NewServer(ready, m)
	serve(t, s)
	compare(t, ours(t, s), `confhaul_process_ready{condition="redis"} 0`)
	ready.Set("redis", nil)
	ready.Set("nats", errors.New("away"))
	m.ClockSkew(-1500 * time.Millisecond)
	m.InventoryInForce(true)
	compare(t, ours(t, s), `
confhaul_clock_skew_seconds -1.5
confhaul_inventory_in_force 1
confhaul_process_ready{condition="nats"} 0
confhaul_process_ready{condition="redis"} 1
`)
	m.InventoryInForce(false)
	_, body := get(t, s, "/metrics")
	for _, line := range []string{"confhaul_inventory_in_force 0\n", `confhaul_build_info{goversion="` + ReadBuild().Go + `",revision="`} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("%s is missing", line)
		}
	}
}
