package queue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/secret"
)

// sweep sweeps and checks the number of repairs, and that a second sweep finds nothing.
func sweep(t *testing.T, c *Client, want int, ids ...string) {
	t.Helper()
	for _, want := range []int{want, 0} {
		if n, err := c.Sweep(ctxFor(t), "a", ids); err != nil || n != want {
			t.Fatalf("repaired %d, %v, want %d", n, err, want)
		}
	}
}

// TestSweepOrphans takes tasks out of their lists by hand, one state after the other.
func TestSweepOrphans(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, _ secret.URL) {
		ctx := ctxFor(t)
		ids := []string{"pending", "active", "scheduled", "retry", "sound"}
		for _, id := range ids {
			if _, err := c.Ensure(ctx, "a", task(id), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		k := keys{"a"}
		for _, state := range ids[:4] { // in no list, as a script that failed half way leaves them
			pipe := c.redis.Pipeline()
			pipe.ZRem(ctx, k.of("scheduled"), backup.TaskID(state))
			pipe.HSet(ctx, k.task(backup.TaskID(state)), "state", state)
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if missing, err := c.Missing(ctx, "a", ids); err != nil || len(missing) != 0 {
			t.Fatalf("missing before the sweep: %v, %v", missing, err)
		}
		sweep(t, c, 0) // of no devices
		sweep(t, c, 4, ids...)
		missing, err := c.Missing(ctx, "a", ids)
		if err != nil || !slices.Equal(missing, ids[:4]) {
			t.Fatalf("missing after the sweep: %v, %v", missing, err)
		}
		for _, id := range missing {
			if got, err := c.EnsureNow(ctx, "a", task(id), false); err != nil || got != backup.Pending {
				t.Errorf("task %s made again: %v, %v", id, got, err)
			}
		}
		sweep(t, c, 0, ids...)
		awaitStates(t, c, "a", map[string]int{"pending": 4, "scheduled": 1})
	})
}

// TestSweepSpares leaves what is where it belongs, though another task of the queue is not.
func TestSweepSpares(t *testing.T) {
	t.Parallel()
	c, _ := newTestClient(t)
	ctx := ctxFor(t)
	k := keys{"a"}
	var ids []string
	for i := range 30 {
		ids = append(ids, fmt.Sprint("r", i))
		if _, err := c.EnsureNow(ctx, "a", task(ids[i]), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.redis.LRem(ctx, k.of("pending"), 1, backup.TaskID("r7")).Err(); err != nil {
		t.Fatal(err)
	}
	sweep(t, c, 1, ids...)
	if missing, err := c.Missing(ctx, "a", ids); err != nil || !slices.Equal(missing, []string{"r7"}) {
		t.Errorf("missing %v, %v", missing, err)
	}
	// What the look has missed, and what was there after all when it came to it.
	if n, err := c.dropOrphan(ctx, k, backup.TaskID("r8"), "pending"); err != nil || n != 0 {
		t.Errorf("a task in its list was dropped: %d, %v", n, err)
	}
	if n, err := c.dropOrphan(ctx, k, backup.TaskID("r8"), "active"); err != nil || n != 0 {
		t.Errorf("a task of another state was dropped: %d, %v", n, err)
	}
}

// TestSweepActive damages the active list and the lease set by hand.
func TestSweepActive(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, _ secret.URL) {
		ctx := ctxFor(t)
		k := keys{"a"}
		if _, err := c.Ensure(ctx, "a", task("leaseless"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		id := backup.TaskID("leaseless")
		pipe := c.redis.Pipeline()
		pipe.ZRem(ctx, k.of("scheduled"), id) // as a worker holds it
		pipe.HSet(ctx, k.task(id), "state", "active")
		pipe.LPush(ctx, k.of("active"), "backup:gone", id, "backup:empty")
		pipe.HSet(ctx, k.task("backup:empty"), "state", "active") // as dequeue leaves the id of a task that is gone
		pipe.ZAdd(ctx, k.of("lease"), redis.Z{Score: 1, Member: "backup:nobody"}, redis.Z{Score: 1, Member: "backup:gone"})
		pipe.SRem(ctx, "asynq:queues", "a")
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := c.inspector.GetQueueInfo("a"); err == nil {
			t.Fatal("the inspector sees a queue that is not listed")
		}
		sweep(t, c, 3, "leaseless")
		if active, err := c.redis.LRange(ctx, k.of("active"), 0, -1).Result(); err != nil || !slices.Equal(active, []string{id}) {
			t.Errorf("active %v, %v", active, err)
		}
		leases, err := c.redis.ZRangeWithScores(ctx, k.of("lease"), 0, -1).Result()
		if err != nil || len(leases) != 1 || leases[0].Member != id {
			t.Fatalf("leases %v, %v", leases, err)
		}
		if left := time.Until(time.Unix(int64(leases[0].Score), 0)); left > leaseDuration || left < leaseDuration-testTimeout {
			t.Errorf("the new lease ends in %s", left)
		}
		if info, err := c.inspector.GetQueueInfo("a"); err != nil || info.Active != 1 {
			t.Errorf("the inspector sees %+v, %v", info, err)
		}
	})
}

// TestSweepKeepsLiveSession takes the lease of a running task away: after the sweep its worker keeps the new one up, and its
// result counts. Without the sweep the result is lost and the id taken for ever.
func TestSweepKeepsLiveSession(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", device.Unlimited)
	k, id := keys{"a"}, backup.TaskID("r1")
	started, release := make(chan struct{}), make(chan struct{})
	startServer(t, url, 1, func(context.Context, string, backup.Task) (backup.Next, error) {
		close(started)
		<-release
		return backup.Next{}, nil
	}, "a")
	if _, err := c.EnsureNow(ctx, "a", task("r1"), false); err != nil {
		t.Fatal(err)
	}
	await(t, started, "the session")
	if err := c.redis.ZRem(ctx, k.of("lease"), id).Err(); err != nil {
		t.Fatal(err)
	}
	sweep(t, c, 1, "r1")
	soon := time.Now().Unix()
	if err := c.redis.ZAdd(ctx, k.of("lease"), redis.Z{Score: float64(soon), Member: id}).Err(); err != nil { // so that the heartbeat shows
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for score := 0.0; score <= float64(soon); score = c.redis.ZScore(ctx, k.of("lease"), id).Val() {
		await(t, tick.C, "a heartbeat")
	}
	close(release)
	awaitStates(t, c, "a", map[string]int{"completed": 1})
}

// TestResultIsNotLost refuses asynq's scripts while a task ends, as a blip of Redis does: the result is written afterwards.
func TestResultIsNotLost(t *testing.T) {
	t.Parallel()
	embeddedtest.RequireServer(t)
	url := embeddedtest.Start(t, embedded.RedisServer).URL()
	c, err := NewClient(Address{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx := ctxFor(t)
	setLimit(t, c, "a", device.Unlimited)
	started, release := make(chan struct{}), make(chan struct{})
	lines := make(chanLog, 1000)
	s, err := NewServer(ServerOptions{
		Address: Address{URL: url}, Sessions: 1, Grace: 6 * time.Second, Log: slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Handler: func(context.Context, string, backup.Task) (backup.Next, error) {
			close(started)
			<-release
			return backup.Next{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if err := s.Serve("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.EnsureNow(ctx, "a", task("r1"), false); err != nil {
		t.Fatal(err)
	}
	await(t, started, "the session")
	grant := func(rule string) {
		t.Helper()
		if err := c.redis.Do(ctx, "acl", "setuser", "default", rule+"eval", rule+"evalsha").Err(); err != nil {
			t.Fatal(err)
		}
	}
	grant("-")
	close(release)
	for !strings.Contains(await(t, lines, "the lost result"), "Will retry syncing") {
	}
	grant("+")
	awaitStates(t, c, "a", map[string]int{"completed": 1})
	sweep(t, c, 0, "r1")
}

// chanLog hands on what is logged, and drops what nobody waits for.
type chanLog chan string

func (l chanLog) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// BenchmarkSweep measures a full pass over a sound queue of 10,000 tasks.
func BenchmarkSweep(b *testing.B) {
	url := embeddedtest.Redis(b)
	c, err := NewClient(Address{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var ids []string
	for i := range 10_000 {
		ids = append(ids, strconv.Itoa(i))
		if _, err := c.EnsureNow(b.Context(), "a", task(ids[i]), false); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if n, err := c.Sweep(b.Context(), "a", ids); err != nil || n != 0 {
			b.Fatal(n, err)
		}
	}
}
