package telemetry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a whole request
	writeTimeout  = 60 * time.Second // of a whole answer; a handler that streams lifts it by http.ResponseController
	idleTimeout   = 2 * time.Minute  // of a kept connection
	headerMax     = 64 << 10         // bytes
)

// Server answers over HTTP: /healthz says 200 while the process lives, /readyz 200, or 503 with a line for each part that
// is not ready, /metrics the metrics. Handle adds more. It asks for no password: handlers that need one bring it.
type Server struct {
	what string // is served, for log and errors
	mux  *http.ServeMux
	http *http.Server
	tls  *tls.Config // nil: plain HTTP; net/http sets one of its own in http
	addr string
	done chan struct{}
	wait sync.WaitGroup
}

// NewServer prepares a server; Listen starts it.
func NewServer(ready *Ready, metrics *Metrics) *Server {
	metrics.process.ready.ready.Store(ready)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, text := readiness(ready.Status())
		answer(w, status, text)
	})
	mux.Handle("GET /metrics", metrics.handler())
	return newServer("health and metrics", mux)
}

func newServer(what string, mux *http.ServeMux) *Server {
	return &Server{
		what: what,
		mux:  mux,
		done: make(chan struct{}),
		http: &http.Server{
			Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
			IdleTimeout: idleTimeout, MaxHeaderBytes: headerMax,
		},
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // whoever asked has gone
}

// readiness is the answer of /readyz: one line for each condition that is not well.
func readiness(conditions []Condition) (status int, text string) {
	var b strings.Builder
	for _, c := range conditions {
		if c.Err != nil {
			fmt.Fprintf(&b, "%s: %s\n", c.Name, strings.ReplaceAll(c.Err.Error(), "\n", "; "))
		}
	}
	if b.Len() > 0 {
		return http.StatusServiceUnavailable, b.String()
	}
	return http.StatusOK, "ready\n"
}

// UseTLS has Listen serve HTTPS with a certificate, and nothing else.
func (s *Server) UseTLS(c *Certificate) {
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// Handle adds a handler; patterns are those of http.ServeMux. It panics on a pattern that is taken or makes no sense.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Listen starts to serve on addr (host:port, port 0 for a free one), logs the address and returns. Cancelling ctx ends the
// attempt to listen, not the server: Stop does. It is called once.
func (s *Server) Listen(ctx context.Context, addr string, log *slog.Logger) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for %s on %s: %w", s.what, addr, err)
	}
	s.addr = l.Addr().String()
	s.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	s.wait.Go(func() {
		if err := s.serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve "+s.what, "address", s.addr, "err", err)
			close(s.done)
		}
	})
	log.Info("serving "+s.what, "address", s.addr)
	return nil
}

func (s *Server) serve(l net.Listener) error {
	if s.tls != nil {
		s.http.TLSConfig = s.tls
		return s.http.ServeTLS(l, "", "")
	}
	return s.http.Serve(l)
}

// Addr is the host:port that is served, "" before Listen.
func (s *Server) Addr() string { return s.addr }

// URL is the address of the front page.
func (s *Server) URL() string {
	if s.tls != nil {
		return "https://" + s.addr + "/"
	}
	return "http://" + s.addr + "/"
}

// Done is closed when serving ends without Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop takes no more requests and waits for those in work until ctx ends, then cuts them off. Without Listen before it, it
// does nothing.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("stop %s server: %w", s.what, errors.Join(err, s.http.Close()))
	}
	s.wait.Wait()
	return err
}
