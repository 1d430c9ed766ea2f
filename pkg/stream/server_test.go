package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/secret"
)

const patience = 20 * time.Second

// testServer is a real server with a file store that can stop and come back at the same address.
type testServer struct {
	t    *testing.T
	opts server.Options
	srv  *server.Server
}

func startServer(t *testing.T, change ...func(*server.Options)) *testServer {
	t.Helper()
	s := &testServer{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, SyncAlways: true,
	}}
	for _, f := range change {
		f(&s.opts)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *testServer) start() {
	s.t.Helper()
	opts := s.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		s.t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(patience) {
		s.t.Fatal("the server does not start")
	}
	s.srv, s.opts.Port = srv, opts.Port
}

func (s *testServer) stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

func (s *testServer) url() secret.URL { return secret.NewURL(s.srv.ClientURL()) }

func connect(t *testing.T, s *testServer) *natsio.Conn {
	t.Helper()
	c, err := natsio.Connect(t.Context(), natsio.Options{URL: s.url(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// within gives a context that outlives no test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// next waits for a value.
func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-within(t).Done():
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
