package telemetry

import (
	"net/http"
	"net/http/pprof" //nolint:gosec // G108: what it registers by itself is on http.DefaultServeMux, which nobody serves
)

// NewProfileServer prepares a server of Go's profiles under /debug/pprof/. They show what is in memory: give it a listener that
// no other machine can reach. A profile over time moves the deadline of its answer itself.
func NewProfileServer() *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return newServer("profiles", mux)
}
