package natsio_test

import (
	"context"
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/natsio"
)

var errEnough = errors.New("enough")

func makeStream(t *testing.T, c *natsio.Conn, name string) {
	t.Helper()
	_, err := c.JetStream().CreateStream(natsiotest.Within(t), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
}

// publish tries until the server is there.
func publish(t *testing.T, c *natsio.Conn, subject, data string) {
	t.Helper()
	if err := natsio.Do(natsiotest.Within(t), natsiotest.Patience, "publish", func(ctx context.Context) error {
		_, err := c.JetStream().Publish(ctx, subject, []byte(data), jetstream.WithMsgID(data))
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestReadFromStartAndLastPerSubject(t *testing.T) {
	t.Parallel()
	c := natsiotest.Connect(t, natsiotest.StartServer(t))
	makeStream(t, c, "s")
	makeStream(t, c, "empty")
	for _, m := range []string{"a 1", "b 2", "a 3", "c 4"} {
		publish(t, c, "s."+m[:1], m)
	}
	for _, tt := range []struct {
		name   string
		reader natsio.Reader
		want   []string
	}{
		{"all", natsio.Reader{Stream: "s"}, []string{"a 1", "b 2", "a 3", "c 4", "caught up"}},
		{"last", natsio.Reader{Stream: "s", LastPerSubject: true}, []string{"b 2", "a 3", "c 4", "caught up"}},
		{"one subject", natsio.Reader{Stream: "s", Subjects: []string{"s.a"}}, []string{"a 1", "a 3", "caught up"}},
		{"empty", natsio.Reader{Stream: "empty"}, []string{"caught up"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			tt.reader.OnMessage = func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
				got = append(got, string(m.Data()))
				return nil
			}
			tt.reader.OnCaughtUp = func() error {
				got = append(got, "caught up")
				return errEnough
			}
			if err := c.Read(natsiotest.Within(t), tt.reader); !errors.Is(err, errEnough) {
				t.Fatalf("got %v, want the callback's error", err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestReadAllThatIsWrittenMeanwhile: a record that is written over before it was read stands further back, behind those that
// were read already and written again. A list that ends before it lacks a record that was there all the time.
func TestReadAllThatIsWrittenMeanwhile(t *testing.T) {
	t.Parallel()
	c := natsiotest.Connect(t, natsiotest.StartServer(t))
	const records, again = 1500, 20 // more than wait in the client's buffer
	_, err := c.JetStream().CreateStream(natsiotest.Within(t), jetstream.StreamConfig{
		Name: "s", Subjects: []string{"s.>"}, Storage: jetstream.MemoryStorage, MaxMsgsPerSubject: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	write := func(record, turn int) {
		publish(t, c, fmt.Sprintf("s.%d", record), fmt.Sprintf("%d %d", record, turn))
	}
	for record := range records {
		write(record, 1)
	}
	got := map[string]bool{}
	err = c.Read(natsiotest.Within(t), natsio.Reader{
		Stream: "s", LastPerSubject: true,
		OnMessage: func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			if len(got) == 0 {
				for record := range again {
					write(record, 2)
				}
				for record := range again {
					write(records-1-record, 2)
				}
			}
			got[m.Subject()] = true
			return nil
		},
		OnCaughtUp: func() error { return errEnough },
	})
	if !errors.Is(err, errEnough) || len(got) != records {
		t.Errorf("%d records of %d: %v", len(got), records, err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := natsiotest.Connect(t, natsiotest.StartServer(t))
	makeStream(t, c, "s")
	ctx, cancel := context.WithCancel(natsiotest.Within(t))
	err := c.Read(ctx, natsio.Reader{Stream: "s", OnCaughtUp: func() error { cancel(); return nil }})
	if err != nil || ctx.Err() == nil {
		t.Errorf("got %v, want nil after the context", err)
	}
}

func TestReadSurvivesRestarts(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	c := natsiotest.Connect(t, s)
	makeStream(t, c, "s")
	makeStream(t, c, "r")
	const count = 30
	got := map[string][]string{}
	seen := make(chan string, 2*count)
	reader := func(stream string) natsio.Reader {
		return natsio.Reader{Stream: stream, OnMessage: func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			got[stream] = append(got[stream], string(m.Data()))
			seen <- string(m.Data())
			if len(got["s"]) == count && len(got["r"]) == count {
				return errEnough
			}
			return nil
		}}
	}
	done := make(chan error, 1)
	go func() { done <- c.Read(natsiotest.Within(t), reader("s"), reader("r")) }()
	var want []string
	for i := range count {
		m := fmt.Sprint(i)
		want = append(want, m)
		publish(t, c, "s.x", m)
		publish(t, c, "r.x", m)
		if i == count/3 || i == 2*count/3 {
			natsiotest.Next(t, seen) // reading is under way
			s.Stop()
			s.Start()
		}
	}
	if err := natsiotest.Next(t, done); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	for stream, g := range got {
		if !slices.Equal(g, want) {
			t.Errorf("stream %s: got %v, want each message once and in order", stream, g)
		}
	}
}

func TestReadStartsAgainOnStreamMadeAnew(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t, func(o *server.Options) { o.Port = server.RANDOM_PORT })
	c := natsiotest.Connect(t, s)
	makeStream(t, c, "s")
	publish(t, c, "s.x", "old 1")
	publish(t, c, "s.x", "old 2")
	seen, told := make(chan string, 8), make(chan error, 8)
	done := make(chan error, 1)
	go func() {
		done <- c.Read(natsiotest.Within(t), natsio.Reader{
			Stream: "s", Report: func(err error) { told <- err },
			OnMessage: func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
				seen <- string(m.Data())
				if string(m.Data()) == "new" {
					return errEnough
				}
				return nil
			},
		})
	}()
	natsiotest.Next(t, seen)
	natsiotest.Next(t, seen)
	if err := c.JetStream().DeleteStream(natsiotest.Within(t), "s"); err != nil {
		t.Fatal(err)
	}
	if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), "read stream s") {
		t.Errorf("told %v, want the stream's name", err)
	}
	makeStream(t, c, "s")
	publish(t, c, "s.x", "new")
	if err := natsiotest.Next(t, done); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), "from the start") {
		t.Errorf("told %v, want that it reads from the start", err)
	}
}

func TestReadGoesOnAtOnceAfterAReconnect(t *testing.T) {
	t.Parallel()
	s := natsiotest.StartServer(t)
	told, onChange := changes()
	c, err := natsio.Connect(natsiotest.Within(t), natsio.Options{URL: s.URL(), OnChange: onChange})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	makeStream(t, c, "s")
	seen := make(chan string, 8)
	ctx, cancel := context.WithCancel(natsiotest.Within(t))
	done := make(chan error, 1)
	go func() {
		done <- c.Read(ctx, natsio.Reader{Stream: "s", OnMessage: func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			seen <- string(m.Data())
			return nil
		}})
	}()
	publish(t, c, "s.x", "before")
	natsiotest.Next(t, seen)
	s.Stop()
	s.Start()
	for _, up := range []bool{true, false, true} {
		if got := natsiotest.Next(t, told); got.up != up {
			t.Fatalf("told %+v, want up %v", got, up)
		}
	}
	publish(t, c, "s.x", "after")
	started := time.Now()
	natsiotest.Next(t, seen)
	if took := time.Since(started); took > 5*time.Second { // lost heartbeats alone take 10
		t.Errorf("took %s", took)
	}
	cancel()
	if err := natsiotest.Next(t, done); err != nil {
		t.Error(err)
	}
}
