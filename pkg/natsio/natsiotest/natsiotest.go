// Package natsiotest gives tests a real NATS server that can stop and come back at its address.
package natsiotest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Patience bounds every wait of these tests.
const Patience = 20 * time.Second

// Server is a real server with a file store that can stop and come back at the same address.
type Server struct {
	t    *testing.T
	Opts server.Options
	Srv  *server.Server
}

// StartServer starts one; change may alter its options.
func StartServer(t *testing.T, change ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, Opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, SyncAlways: true,
	}}
	for _, f := range change {
		f(&s.Opts)
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start brings a stopped server back at its address, on its store.
func (s *Server) Start() {
	s.t.Helper()
	opts := s.Opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		s.t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(Patience) {
		s.t.Fatal("the server does not start")
	}
	s.Srv, s.Opts.Port = srv, opts.Port
}

// Stop ends it.
func (s *Server) Stop() {
	s.Srv.Shutdown()
	s.Srv.WaitForShutdown()
}

// URL is its address for clients.
func (s *Server) URL() secret.URL { return secret.NewURL(s.Srv.ClientURL()) }

// Address is its host:port.
func (s *Server) Address() string { return fmt.Sprintf("%s:%d", s.Opts.Host, s.Opts.Port) }

// Connect opens a connection that closes with the test.
func Connect(t *testing.T, s *Server) *natsio.Conn {
	t.Helper()
	c, err := natsio.Connect(t.Context(), natsio.Options{URL: s.URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const (
	// HurriedAckTimeout is what Hurry sets: more than a loaded machine takes to acknowledge a message.
	HurriedAckTimeout = 2 * time.Second
	hurryTimeout      = time.Second // of one Hurry: a question to a server that goes away just then is never answered
)

// Hurry has the server hand out again what the owner of a durable consumer has held for longer than HurriedAckTimeout,
// whatever its owner asked for. An owner that opens its consumer anew asks anew, and where there is no server or no consumer
// nothing is changed: a test that waits for a message to come again hurries for as long as it waits.
func Hurry(ctx context.Context, js jetstream.JetStream, stream, durable string) {
	ctx, cancel := context.WithTimeout(ctx, hurryTimeout)
	defer cancel()
	c, err := js.Consumer(ctx, stream, durable)
	if err != nil {
		return
	}
	if cfg := c.CachedInfo().Config; cfg.AckWait > HurriedAckTimeout {
		cfg.AckWait = HurriedAckTimeout
		_, _ = js.UpdateConsumer(ctx, stream, cfg)
	}
}

// Within gives a context that outlives no test.
func Within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Next waits for a value.
func Next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-Within(t).Done():
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
