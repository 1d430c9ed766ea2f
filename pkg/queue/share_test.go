package queue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// TestShareIsFair has a site of dark routers and another one on one worker of 6 sessions: alone it has them all, then the
// other gets each session that ends until both have half; a paused one waits for nothing.
func TestShareIsFair(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	const sessions = 6
	started := make(chan string, 100)
	end := map[string]chan struct{}{"dark": make(chan struct{}), "other": make(chan struct{})}
	handler := func(_ context.Context, site string, _ backup.Task) (backup.Next, error) {
		started <- site
		<-end[site]
		return backup.Next{}, nil
	}
	fill := func(site string, limit int) {
		t.Helper()
		setLimit(t, c, site, limit)
		for i := range 20 {
			if _, err := c.EnsureNow(ctx, site, task(fmt.Sprint(site, i)), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	begins := func(want string) {
		t.Helper()
		if got := await(t, started, "a session"); got != want {
			t.Fatalf("a session of %s begins, want one of %s", got, want)
		}
	}
	fill("other", 0)
	fill("dark", device.Unlimited)
	s := startServer(t, url, sessions, handler, "dark", "other")
	defer close(end["dark"])
	defer close(end["other"])
	for range sessions {
		begins("dark")
	}
	end["dark"] <- struct{}{}
	begins("dark") // the other one is paused
	setLimit(t, c, "other", device.Unlimited)
	await(t, sees(t, s, "other"), "the worker's view of the other queue")
	for range sessions / 2 {
		end["dark"] <- struct{}{}
		begins("other")
	}
	for range 3 { // from here on each keeps to its half
		end["dark"] <- struct{}{}
		begins("dark")
		end["other"] <- struct{}{}
		begins("other")
	}
}

// sees is closed when the worker knows that a site's tasks wait.
func sees(t *testing.T, s *Server, site string) <-chan struct{} {
	t.Helper()
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		for tick := time.NewTicker(10 * time.Millisecond); t.Context().Err() == nil; <-tick.C {
			s.gate.share.others("none")
			s.gate.share.look.Lock()
			known := s.gate.share.seen[site]
			s.gate.share.look.Unlock()
			if known {
				tick.Stop()
				return
			}
		}
	}()
	return seen
}

// TestShareOfSessions: what one queue gets while another has tasks, while it has none, and while there is no other.
func TestShareOfSessions(t *testing.T) {
	t.Parallel()
	for sessions, want := range map[int][3]int{1: {1, 1, 1}, 2: {1, 2, 2}, 3: {1, 3, 3}, 7: {3, 7, 7}, 8: {4, 7, 8}, 20: {10, 18, 20}} {
		for i, seen := range []map[string]bool{{"a": true, "b": true}, {"a": true, "b": false}, {"a": true}} {
			s := newShare(sessions, func() map[string]bool { return seen })
			n := 0
			for n < sessions && s.take("a") {
				n++
			}
			if n != want[i] {
				t.Errorf("of %d sessions one queue gets %d with %v, want %d", sessions, n, seen, want[i])
			}
			s.release("a")
			if !s.take("a") || n < sessions && s.take("a") {
				t.Errorf("of %d sessions one that ends is not taken again once with %v", sessions, seen)
			}
		}
	}
}

// TestEmptyQueues: a queue that is seen to be empty is asked now and then only, one with tasks and an unknown one always.
func TestEmptyQueues(t *testing.T) {
	t.Parallel()
	s := newShare(1, func() map[string]bool { return map[string]bool{"empty": false, "full": true} })
	for site, want := range map[string][2]bool{"empty": {false, true}, "full": {false, false}, "unknown": {false, false}} {
		if got := [2]bool{s.empty(site), s.empty(site)}; got != want {
			t.Errorf("%s: empty %v, want %v", site, got, want)
		}
	}
	s.asked["empty"] = time.Now().Add(-askInterval)
	if s.empty("empty") {
		t.Error("it is not asked again")
	}
}
