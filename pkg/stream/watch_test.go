package stream_test

import (
	"context"
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/stream"
)

func event(kind backup.EventType, attempt string) backup.Event {
	return backup.Event{V: backup.EventVersion, Type: kind, DeviceID: "r:1", Site: "berlin", Attempt: attempt}
}

// watch runs a Watch and gives what it sees as lines.
func watch(t *testing.T, b *bench) (lines chan string, stop func()) {
	t.Helper()
	lines = make(chan string, 256)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.Watch(ctx, func(m stream.Message) error {
			if m.Seq == 0 || m.Time.IsZero() {
				t.Errorf("message without sequence or time: %+v", m)
			}
			if m.Snapshot != nil {
				lines <- fmt.Sprint("snapshot ", len(m.Snapshot.ConfigText), " ", m.Snapshot.CollectedAt.Minute())
			} else {
				lines <- fmt.Sprint(m.Event.Type, " ", m.Event.Attempt)
			}
			return nil
		})
	}()
	return lines, func() {
		t.Helper()
		cancel()
		if err := natsiotest.Next(t, done); err != nil {
			t.Errorf("watch ended with %v, want nil", err)
		}
	}
}

func TestWatchGivesBothStreamsAndLargeOnesOpened(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	seq := b.publish(snap("a", 1), 0)
	b.publish(snap(noise(300<<10, 1), 2), seq)
	for range 2 { // the second is a repeat
		for _, e := range []backup.Event{event(backup.EventFailed, "1"), event(backup.EventBlocked, "2"), event(backup.EventUnchanged, "3")} {
			if err := b.PublishEvent(natsiotest.Within(t), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A request is no event, and nobody here knows a diff yet.
	if _, err := b.conn.JetStream().Publish(natsiotest.Within(t), "config.diff.berlin.r1", []byte(`{"type":"diff"}`)); err != nil {
		t.Fatal(err)
	}
	lines, stop := watch(t, b)
	var got []string
	for range 5 {
		got = append(got, natsiotest.Next(t, lines))
	}
	slices.Sort(got)
	if want := []string{"blocked 2", "failed 1", "snapshot 1 1", fmt.Sprint("snapshot ", 300<<10, " 2"), "unchanged 3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := b.PublishEvent(natsiotest.Within(t), event(backup.EventFailed, "4")); err != nil {
		t.Fatal(err)
	}
	if l := natsiotest.Next(t, lines); l != "failed 4" {
		t.Errorf("got %q, want the new event alone", l)
	}
	stop()
}

func TestTriggerIsNoEvent(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	s, err := b.conn.JetStream().Stream(natsiotest.Within(t), stream.EventStream)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range s.CachedInfo().Config.Subjects {
		if strings.HasPrefix("config.backup.trigger", strings.TrimSuffix(subject, ">")) {
			t.Errorf("%s takes requests as events", subject)
		}
	}
}

func TestWatchSurvivesRestarts(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	lines, stop := watch(t, b)
	var seq uint64
	for i := range 12 {
		if i%4 == 3 {
			b.srv.Stop()
			b.srv.Start()
		}
		for err := errors.New("not yet"); err != nil; { // nothing is repeated inside
			var got uint64
			if got, err = b.PublishSnapshot(natsiotest.Within(t), snap(fmt.Sprint(i), i), nil, seq); err == nil {
				seq = got
			}
		}
		if l, want := natsiotest.Next(t, lines), fmt.Sprintf("snapshot %d %d", len(fmt.Sprint(i)), i); l != want {
			t.Fatalf("got %q, want %q", l, want)
		}
	}
	stop()
	if len(lines) > 0 {
		t.Errorf("seen again: %q", <-lines)
	}
}

func TestWatchReportsWhatItCannotRead(t *testing.T) {
	t.Parallel()
	told := make(chan error, 8)
	b := open(t, stream.Options{Report: func(err error) { told <- err }}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	if _, err := b.conn.JetStream().Publish(natsiotest.Within(t), "config.snapshot.create.berlin.r9", []byte("{")); err != nil {
		t.Fatal(err)
	}
	b.publish(snap(noise(300<<10, 1), 1), 0)
	large, _ := b.last()
	objects, err := b.conn.JetStream().ObjectStore(natsiotest.Within(t), stream.LargeBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := objects.Delete(natsiotest.Within(t), large.Object); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := b.Last(natsiotest.Within(t), "berlin", "r:1"); err == nil || !strings.Contains(err.Error(), "object store") {
		t.Errorf("last without its object: %v", err)
	}
	b.publish(snap("good", 2), 2)
	lines, stop := watch(t, b)
	if l := natsiotest.Next(t, lines); l != "snapshot 4 2" {
		t.Errorf("got %q", l)
	}
	stop()
	for _, want := range []string{"message 1 is left out", "message 2 is left out"} {
		if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), want) {
			t.Errorf("told %v, want %q", err, want)
		}
	}
}

func TestWatchEndsWithTheErrorOfFn(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	b.publish(snap("a", 1), 0)
	own := errors.New("own")
	if err := b.Watch(natsiotest.Within(t), func(stream.Message) error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
}
