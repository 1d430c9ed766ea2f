package stream_test

import (
	"context"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/stream"
)

// TestWatchDiffs: changes that were told since a time come first, then those that are told; unreadable ones and other events do not.
func TestWatchDiffs(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	publish := func(version int) {
		t.Helper()
		if err := b.PublishDiff(natsiotest.Within(t), backup.Diff{DeviceID: "r:1", Site: "riga", Version: version, SHA256Hash: string(rune('a' + version))}); err != nil {
			t.Fatal(err)
		}
	}
	watch := func(since time.Time) chan int {
		got := make(chan int, 16)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- b.WatchDiffs(ctx, since, func(d backup.Diff) error { got <- d.Version; return nil })
		}()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the watch ended with %v", err)
			}
		})
		return got
	}
	publish(1)
	if err := b.PublishEvent(natsiotest.Within(t), backup.Event{Type: backup.EventFailed, DeviceID: "r:1", Site: "riga"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.conn.JetStream().Publish(natsiotest.Within(t), "config.diff.riga.r1", []byte("no json")); err != nil {
		t.Fatal(err)
	}
	all, late := watch(time.Now().Add(-time.Hour)), watch(time.Now())
	if v := natsiotest.Next(t, all); v != 1 {
		t.Errorf("the first is %d", v)
	}
	publish(2)
	if v := natsiotest.Next(t, all); v != 2 {
		t.Errorf("the second is %d", v)
	}
	if v := natsiotest.Next(t, late); v != 2 {
		t.Errorf("%d came from before the time", v)
	}
}
