package natsio_test

import (
	"context"
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/secret"
)

type change struct {
	up  bool
	err error
}

func changes() (chan change, func(bool, error)) {
	ch := make(chan change, 64)
	return ch, func(up bool, err error) { ch <- change{up, err} }
}

func TestConnectFailsSoonAndNamesNoSecret(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	for _, tt := range []struct{ name, url, want string }{
		{"nobody there", "nats://user:hunter2@" + address, address},
		{"not a URL", "nats://user:hunter2%zz@" + address, "nats://host:4222"},
		{"several", "nats://user:hunter2@" + address + ",nats://user:hunter2@" + address, "connect to NATS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := natsio.Connect(t.Context(), natsio.Options{URL: secret.NewURL(tt.url)})
			if fault.KindOf(err) != fault.Infrastructure {
				t.Fatalf("got %v, want a fault of the infrastructure", err)
			}
			if s := err.Error(); !strings.Contains(s, tt.want) || strings.Contains(s, "hunter2") {
				t.Errorf("got %q, want it to name %q and no password", s, tt.want)
			}
		})
	}
}

func TestConnectToServerThatSaysNothing(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connection, nobody speaks
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprint("wait ", wait), func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("the test ends it"))
			defer cancel()
			started := time.Now()
			_, err = natsio.Connect(ctx, natsio.Options{URL: secret.NewURL("nats://" + l.Addr().String()), Wait: wait})
			if fault.KindOf(err) != fault.Infrastructure || !strings.Contains(err.Error(), "the test ends it") {
				t.Errorf("got %v, want the context's cause", err)
			}
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("took %s: the context did not end the handshake", took)
			}
		})
	}
}

func TestConnectHonoursTokenAndPassword(t *testing.T) {
	t.Parallel()
	token := natsiotest.StartServer(t, func(o *server.Options) { o.Authorization = "s3cret" })
	user := natsiotest.StartServer(t, func(o *server.Options) { o.Username, o.Password = "u", "s3cret" })
	for _, tt := range []struct {
		name, url string
		ok        bool
	}{
		{"token", "nats://s3cret@" + token.Srv.Addr().String(), true},
		{"wrong token", "nats://wr0ng@" + token.Srv.Addr().String(), false},
		{"password", "nats://u:s3cret@" + user.Srv.Addr().String(), true},
		{"wrong password", "nats://u:wr0ng@" + user.Srv.Addr().String(), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := natsio.Connect(natsiotest.Within(t), natsio.Options{URL: secret.NewURL(tt.url)})
			if (err == nil) != tt.ok {
				t.Fatalf("got %v, want connected %v", err, tt.ok)
			}
			if err != nil {
				if strings.Contains(err.Error(), "wr0ng") {
					t.Errorf("%q names the secret", err)
				}
				return
			}
			defer c.Close()
			if !c.Connected() || c.MaxPayload() != 1<<20 {
				t.Errorf("connected %v, max payload %d", c.Connected(), c.MaxPayload())
			}
		})
	}
}

func TestWaitTellsOnceAndOutlivesOutages(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	// Of two addresses nobody is ever at the first, which gives nats.go a failure to tell in each round of tries.
	url := secret.NewURL("nats://127.0.0.1:1,nats://" + s.Address())
	s.Stop()
	refuser, err := net.Listen("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	told, onChange := changes()
	type result struct {
		c   *natsio.Conn
		err error
	}
	connected := make(chan result, 1)
	go func() {
		c, err := natsio.Connect(natsiotest.Within(t), natsio.Options{URL: url, Wait: true, OnChange: onChange})
		connected <- result{c, err}
	}()
	for range 3 {
		conn, err := refuser.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if c := natsiotest.Next(t, told); c.up || c.err == nil {
		t.Fatalf("first told %+v, want down with a reason", c)
	}
	if err := refuser.Close(); err != nil {
		t.Fatal(err)
	}
	s.Start()
	r := natsiotest.Next(t, connected)
	if r.err != nil {
		t.Fatal(r.err)
	}
	if c := natsiotest.Next(t, told); !c.up {
		t.Fatalf("then told %+v, want up: an outage is told once", c)
	}
	s.Stop()
	if c := natsiotest.Next(t, told); c.up || c.err == nil {
		t.Fatalf("told %+v, want down with a reason", c)
	}
	s.Start()
	if c := natsiotest.Next(t, told); !c.up {
		t.Fatalf("told %+v, want up", c)
	}
	r.c.Close()
	r.c.Close() // twice does no harm
	if r.c.Connected() || len(told) > 0 {
		t.Errorf("connected %v after Close, told %d more times", r.c.Connected(), len(told))
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	url := s.URL()
	s.Stop()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	gone := errors.New("told to stop")
	_, err := natsio.Connect(ctx, natsio.Options{URL: url, Wait: true, OnChange: func(bool, error) { cancel(gone) }})
	if !errors.Is(err, gone) || fault.KindOf(err) != fault.Infrastructure {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestNothingIsSentAfterItsSenderGaveUp(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	c := natsiotest.Connect(t, s)
	makeStream(t, c, "s")
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.JetStream().Publish(ctx, "s.x", []byte("during")); err == nil {
		t.Error("published to a server that is not there")
	}
	s.Start()
	publish(t, c, "s.x", "after")
	stream, err := c.JetStream().Stream(natsiotest.Within(t), "s")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.GetMsg(natsiotest.Within(t), 1); err != nil || string(m.Data) != "after" {
		t.Errorf("first on the stream is %+v, %v", m, err)
	}
}
