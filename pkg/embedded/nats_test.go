package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/secret"
)

func startTestNATS(t *testing.T, o NATSOptions) *NATS {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Token = NewToken()
	n, err := StartNATS(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func connect(t *testing.T, address string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestNATSDemandsToken(t *testing.T) {
	t.Parallel()
	n := startTestNATS(t, NATSOptions{})
	u, err := url.Parse(n.URL().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(u.Host, "127.0.0.1:") {
		t.Errorf("address: got %s", u.Host)
	}
	connect(t, u.String())
	for name, user := range map[string]*url.Userinfo{"wrong token": url.User("wrong"), "no token": nil} {
		other := *u
		other.User = user
		if nc, err := nats.Connect(other.String()); !errors.Is(err, nats.ErrAuthorization) {
			nc.Close()
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNATSMessages(t *testing.T) {
	t.Parallel()
	n := startTestNATS(t, NATSOptions{})
	nc, _ := connect(t, n.URL().Reveal())
	before, _, err := n.Messages()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := nc.Publish("a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if after, _, err := n.Messages(); err != nil || after-before != 3 {
		t.Errorf("%d messages, %v", after-before, err)
	}
}

func TestNATSLimits(t *testing.T) {
	t.Parallel()
	n := startTestNATS(t, NATSOptions{})
	if !n.server.JetStreamConfig().SyncAlways {
		t.Error("writes are not synced")
	}
	nc, js := connect(t, n.URL().Reveal())
	if got := nc.MaxPayload(); got != 8<<20 {
		t.Errorf("max payload: got %d", got)
	}
	for i := range 3 { // three times what no disk has
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
			Name: fmt.Sprintf("S%d", i), Subjects: []string{fmt.Sprintf("s%d.>", i)}, MaxBytes: 100 << 40,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// One message of the whole payload; the rest of the protocol line does not count.
	if _, err := js.Publish(t.Context(), "s0.a", bytes.Repeat([]byte("x"), 8<<20)); err != nil {
		t.Error(err)
	}
	small := startTestNATS(t, NATSOptions{MaxPayload: 1 << 20})
	if nc, _ := connect(t, small.URL().Reveal()); nc.MaxPayload() != 1<<20 {
		t.Errorf("max payload: got %d", nc.MaxPayload())
	}
}

// fill stores one message and one KV entry.
func fill(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	ctx := t.Context()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxBytes: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s.a", []byte("stored")); err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "state"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "a.b", []byte("known")); err != nil {
		t.Fatal(err)
	}
}

// checkFilled reads what fill stored.
func checkFilled(t *testing.T, address string) {
	t.Helper()
	_, js := connect(t, address)
	s, err := js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetLastMsgForSubject(t.Context(), "s.a"); err != nil || string(m.Data) != "stored" {
		t.Errorf("stream: got %v, %v", m, err)
	}
	kv, err := js.KeyValue(t.Context(), "state")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(t.Context(), "a.b"); err != nil || string(e.Value()) != "known" {
		t.Errorf("kv: got %v, %v", e, err)
	}
}

func TestNATSStoreOutlivesTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	n := startTestNATS(t, NATSOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	_, js := connect(t, n.URL().Reveal())
	fill(t, js)
	for range 2 {
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if log.Len() > 0 {
		t.Errorf("an ordinary run is logged: %s", log.String())
	}
	again := startTestNATS(t, NATSOptions{Dir: dir}) // with another token
	checkFilled(t, again.URL().Reveal())
	if err := again.Stop(); err != nil {
		t.Fatal(err)
	}

	// What nats-server -js -sd DIR makes of it.
	plain, err := server.NewServer(&server.Options{
		Host: loopback, Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	plain.Start()
	defer plain.WaitForShutdown()
	defer plain.Shutdown()
	checkFilled(t, plain.ClientURL())
}

func TestNATSStartFails(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	noStore := t.TempDir()
	if err := os.WriteFile(filepath.Join(noStore, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	token := NewToken()
	for name, tc := range map[string]struct {
		ctx  context.Context
		o    NATSOptions
		want string
	}{
		"port taken":   {t.Context(), NATSOptions{Dir: t.TempDir(), Token: token, Port: taken.Addr().(*net.TCPAddr).Port}, "address already in use"},
		"no store":     {t.Context(), NATSOptions{Dir: noStore, Token: token}, "JetStream"},
		"no token":     {t.Context(), NATSOptions{Dir: t.TempDir()}, "token"},
		"no directory": {t.Context(), NATSOptions{Token: token}, "directory"},
		"cancelled":    {cancelled, NATSOptions{Dir: t.TempDir(), Token: token}, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			_, err := StartNATS(tc.ctx, tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if took := time.Since(begun); took > natsReadyTimeout/2 {
				t.Errorf("it took %s to tell", took)
			}
		})
	}
}

func TestTokensDiffer(t *testing.T) {
	t.Parallel()
	a, b := NewToken(), NewToken()
	if a == b || len(a.Reveal()) < 26 || a == (secret.Text{}) {
		t.Error("tokens are not random")
	}
}
