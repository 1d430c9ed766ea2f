package telemetry

import (
	"net/http"
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	s := NewProfileServer()
	serve(t, s)
	for path, want := range map[string]string{
		"/debug/pprof/":                  "heap",
		"/debug/pprof/goroutine?debug=1": "goroutine profile:",
		"/debug/pprof/heap?debug=1":      "heap profile:",
		"/debug/pprof/cmdline":           "telemetry.test",
		"/debug/pprof/trace?seconds=0.1": "go 1.",
	} {
		if status, body := get(t, s, path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %.200q, want %q", path, status, body, want)
		}
	}
	if status, _ := get(t, s, "/metrics"); status != http.StatusNotFound {
		t.Errorf("the server of profiles has /metrics: %d", status)
	}
}

// TestNoProfilesBesideMetrics keeps them off the listener that others reach.
func TestNoProfilesBesideMetrics(t *testing.T) {
	t.Parallel()
	s := NewServer(&Ready{}, NewMetrics())
	serve(t, s)
	if status, _ := get(t, s, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("got %d", status)
	}
}
