package state_test

import (
	"context"
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/state"
)

// watch runs a Watch and tells what it saw as lines.
func watch(t *testing.T, s *state.Store, buckets ...backup.Bucket) (lines chan string, stop func()) {
	t.Helper()
	return watchKeys(t, s, nil, buckets...)
}

func watchKeys(t *testing.T, s *state.Store, keys []string, buckets ...backup.Bucket) (lines chan string, stop func()) {
	t.Helper()
	lines = make(chan string, 64)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.WatchKeys(ctx, keys, func(c backup.Change) error {
			what := map[backup.Bucket]any{
				backup.BucketDevices: c.Device.Name, backup.BucketState: c.State.Failures, backup.BucketSites: c.Site.Limit, backup.BucketRequests: c.Request.ID,
			}[c.Bucket]
			if c.Deleted {
				what = "deleted"
			}
			lines <- fmt.Sprint(c.Bucket, " ", c.Key, " ", what)
			return nil
		}, func() { lines <- "ready" }, buckets...)
	}()
	stop = func() {
		t.Helper()
		cancel()
		if err := natsiotest.Next(t, done); err != nil {
			t.Errorf("watch ended with %v, want nil", err)
		}
	}
	return lines, stop
}

func TestWatchGivesRecordsReadyAndChanges(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	revision := must[uint64](t)(s.PutState(ctx, "a.r1", backup.State{Failures: 1}, 0))
	must[uint64](t)(s.PutState(ctx, "a.r1", backup.State{Failures: 2}, revision))
	must[uint64](t)(s.PutSite(ctx, device.Site{Name: "a", Limit: 5}, 0))
	must[uint64](t)(s.PutRequest(ctx, "a.r1", backup.Request{ID: "q"}))
	lines, stop := watch(t, s, backup.BucketDevices, backup.BucketState, backup.BucketSites, backup.BucketRequests)
	first := []string{natsiotest.Next(t, lines), natsiotest.Next(t, lines), natsiotest.Next(t, lines)}
	slices.Sort(first)
	if want := []string{"requests a.r1 q", "sites a 5", "state a.r1 2"}; !slices.Equal(first, want) {
		t.Errorf("got %q, want %q", first, want)
	}
	if l := natsiotest.Next(t, lines); l != "ready" {
		t.Errorf("got %q, want ready after all buckets, also the empty one", l)
	}
	if err := s.PutDevice(ctx, device.Device{ID: "r1", Site: "a", Name: "n"}); err != nil {
		t.Fatal(err)
	}
	if l := natsiotest.Next(t, lines); l != "devices a.r1 n" {
		t.Errorf("got %q", l)
	}
	if err := s.DeleteDevice(ctx, "a.r1"); err != nil {
		t.Fatal(err)
	}
	if l := natsiotest.Next(t, lines); l != "devices a.r1 deleted" {
		t.Errorf("got %q", l)
	}
	stop()
}

// TestWatchKeys hears of its keys alone.
func TestWatchKeys(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	put := func(key string, failures int, revision uint64) uint64 {
		t.Helper()
		return must[uint64](t)(s.PutState(ctx, key, backup.State{Failures: failures}, revision))
	}
	r1, r2, r3 := put("a.r1", 1, 0), put("a.r2", 2, 0), put("b.r1", 3, 0)
	lines, stop := watchKeys(t, s, []string{"a.r1", "a.r2", "c.none"}, backup.BucketState, backup.BucketDevices)
	for _, want := range []string{"state a.r1 1", "state a.r2 2", "ready"} {
		if l := natsiotest.Next(t, lines); l != want {
			t.Errorf("got %q, want %q", l, want)
		}
	}
	put("b.r1", 4, r3)
	put("a.r2", 5, r2)
	put("a.r1", 6, r1)
	for _, want := range []string{"state a.r2 5", "state a.r1 6"} {
		if l := natsiotest.Next(t, lines); l != want {
			t.Errorf("got %q, want %q", l, want)
		}
	}
	stop()
}

func TestWatchSurvivesRestarts(t *testing.T) {
	t.Parallel()
	srv := natsiotest.StartServer(t)
	s := open(t, natsiotest.Connect(t, srv), nil)
	var revision uint64
	put := func(failures int) {
		t.Helper()
		revision = must[uint64](t)(s.PutState(natsiotest.Within(t), key, backup.State{Failures: failures}, revision))
	}
	put(1)
	lines, stop := watch(t, s, backup.BucketState)
	for _, want := range []string{"state berlin.r1 1", "ready"} {
		if l := natsiotest.Next(t, lines); l != want {
			t.Fatalf("got %q, want %q", l, want)
		}
	}
	for i := 2; i < 5; i++ {
		srv.Stop()
		srv.Start()
		put(i)
		if l, want := natsiotest.Next(t, lines), fmt.Sprint("state berlin.r1 ", i); l != want {
			t.Fatalf("got %q, want %q: once, and nothing again", l, want)
		}
	}
	stop()
}

func TestUnreadableRecordsAreReportedAndNoStop(t *testing.T) {
	t.Parallel()
	c := natsiotest.Connect(t, natsiotest.StartServer(t))
	told := make(chan error, 8)
	s := open(t, c, func(err error) { told <- err })
	kv, err := c.JetStream().KeyValue(natsiotest.Within(t), "confhaul-state")
	if err != nil {
		t.Fatal(err)
	}
	must[uint64](t)(kv.Put(natsiotest.Within(t), "a.bad", []byte("{")))
	must[uint64](t)(s.PutState(natsiotest.Within(t), "a.good", backup.State{Failures: 3}, 0))
	lines, stop := watch(t, s, backup.BucketState)
	if l := natsiotest.Next(t, lines); l != "state a.good 3" {
		t.Errorf("got %q", l)
	}
	stop()
	if all, err := s.States(natsiotest.Within(t)); err != nil || len(all) != 1 {
		t.Errorf("states: %+v, %v", all, err)
	}
	for range 2 {
		if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), "a.bad is unreadable") {
			t.Errorf("told %v", err)
		}
	}
	if _, _, err := s.State(natsiotest.Within(t), "a.bad"); err == nil {
		t.Error("an unreadable state was read")
	}
}

func TestWatchEndsWithTheErrorOfFn(t *testing.T) {
	t.Parallel()
	s := store(t)
	must[uint64](t)(s.PutState(natsiotest.Within(t), key, backup.State{}, 0))
	own := errors.New("own")
	if err := s.Watch(natsiotest.Within(t), func(backup.Change) error { return own }, nil, backup.BucketState, backup.BucketSites); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
}
