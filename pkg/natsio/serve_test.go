package natsio_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
)

const asked = "test.asked"

// client asks with a plain connection and hears the answers on one inbox.
type client struct {
	t       *testing.T
	nc      *nats.Conn
	inbox   string
	answers chan string
}

func newClient(t *testing.T, s *natsiotest.Server) *client {
	t.Helper()
	nc, err := nats.Connect(s.URL().Reveal(), nats.MaxReconnects(-1), nats.ReconnectWait(natsio.RetryDelay))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c := &client{t, nc, nats.NewInbox(), make(chan string, 256)}
	if _, err := nc.Subscribe(c.inbox, func(m *nats.Msg) { c.answers <- string(m.Data) }); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) ask(text string) {
	c.t.Helper()
	if err := c.nc.PublishRequest(asked, c.inbox, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// awaitService returns when somebody listens.
func (c *client) awaitService() {
	c.t.Helper()
	ctx := natsiotest.Within(c.t)
	for {
		switch _, err := c.nc.RequestWithContext(ctx, asked, []byte("hello")); {
		case err == nil:
			return
		case ctx.Err() != nil:
			c.t.Fatal("nobody serves")
		}
	}
}

// serve runs a service until stop is called, which gives what Serve returned.
func serve(t *testing.T, s *natsiotest.Server, o natsio.Service) (stop func() error) {
	t.Helper()
	c := natsiotest.Connect(t, s)
	o.Subject, o.Group, o.Busy = asked, "group", []byte("busy")
	if o.Report == nil {
		o.Report = func(err error) { t.Error(err) }
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, o) }()
	t.Cleanup(cancel)
	return func() error { cancel(); return natsiotest.Next(t, done) }
}

func echo(_ context.Context, request []byte) []byte { return request }

// TestServeGroupAnswersOnce: two members, and each request has one answer.
func TestServeGroupAnswersOnce(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	const requests = 40
	one, two := serve(t, s, natsio.Service{AtOnce: requests, Answer: echo}), serve(t, s, natsio.Service{AtOnce: requests, Answer: echo})
	c := newClient(t, s)
	c.awaitService()
	for i := range requests {
		c.ask(fmt.Sprint(i))
	}
	seen := map[string]int{}
	for range requests {
		seen[natsiotest.Next(t, c.answers)]++
	}
	if err := one(); err != nil {
		t.Error(err)
	}
	c.ask("left to the other")
	if got := natsiotest.Next(t, c.answers); got != "left to the other" || len(seen) != requests {
		t.Errorf("%d answers to %d requests, then %q", len(seen), requests, got)
	}
	if err := two(); err != nil {
		t.Error(err)
	}
	if n := len(c.answers); n > 0 {
		t.Errorf("%d answers too many", n)
	}
}

// TestServeTurnsAway what is beyond AtOnce, and a message that asks for no answer.
func TestServeTurnsAway(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	told := make(chan error, 8)
	release, begun := make(chan struct{}), make(chan struct{}, 8)
	stop := serve(t, s, natsio.Service{AtOnce: 2, Report: func(err error) { told <- err }, Answer: func(_ context.Context, request []byte) []byte {
		if string(request) == "slow" {
			begun <- struct{}{}
			<-release
		}
		return request
	}})
	c := newClient(t, s)
	c.awaitService()
	for range 2 {
		c.ask("slow")
		natsiotest.Next(t, begun)
	}
	c.ask("third")
	if got := natsiotest.Next(t, c.answers); got != "busy" {
		t.Errorf("a request beyond the bound is answered with %q", got)
	}
	if err := c.nc.Publish(asked, []byte("slow")); err != nil {
		t.Fatal(err)
	}
	if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), "reply subject") {
		t.Errorf("told %v", err)
	}
	close(release)
	for range 2 {
		if got := natsiotest.Next(t, c.answers); got != "slow" {
			t.Errorf("got %q", got)
		}
	}
	if err := stop(); err != nil || len(begun) > 0 {
		t.Errorf("%v, %d more begun", err, len(begun))
	}
}

// TestServeStops: what is in work and what is on its way when it is told to stop has an answer when it has stopped.
func TestServeStops(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	begun := make(chan struct{}, 8)
	var ended atomic.Int32
	stop := serve(t, s, natsio.Service{AtOnce: 8, Answer: func(ctx context.Context, request []byte) []byte {
		if string(request) == "wait" {
			begun <- struct{}{}
			<-ctx.Done()
			for range 10_000 { // it takes a moment
				runtime.Gosched()
			}
			ended.Add(1)
			return []byte("stopping")
		}
		return request
	}})
	c := newClient(t, s)
	c.awaitService()
	for range 3 {
		c.ask("wait")
		natsiotest.Next(t, begun)
	}
	if err := stop(); err != nil || ended.Load() != 3 {
		t.Errorf("%v, %d of 3 are through", err, ended.Load())
	}
	for range 3 {
		if got := natsiotest.Next(t, c.answers); got != "stopping" {
			t.Errorf("got %q", got)
		}
	}
	if _, err := c.nc.RequestWithContext(natsiotest.Within(t), asked, nil); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after the end: %v", err)
	}
}

// TestServeOutlivesARestart: a request whose work began before the server went is answered when it is back, and the next
// one too.
func TestServeOutlivesARestart(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	release, begun := make(chan struct{}), make(chan struct{}, 8)
	stop := serve(t, s, natsio.Service{AtOnce: 8, Answer: func(_ context.Context, request []byte) []byte {
		if string(request) == "slow" {
			begun <- struct{}{}
			<-release
		}
		return request
	}})
	c := newClient(t, s)
	c.awaitService()
	c.ask("slow")
	natsiotest.Next(t, begun)
	back := make(chan struct{}, 8)
	c.nc.SetReconnectHandler(func(*nats.Conn) { back <- struct{}{} })
	s.Stop()
	s.Start()
	natsiotest.Next(t, back)
	close(release) // the service takes longer to come back
	if got := natsiotest.Next(t, c.answers); got != "slow" {
		t.Errorf("got %q", got)
	}
	c.awaitService()
	if err := stop(); err != nil {
		t.Error(err)
	}
}
