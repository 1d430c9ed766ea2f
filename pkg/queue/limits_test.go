package queue

import (
	"context"
	"errors"
	"fmt"
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

// onEachRedis runs a test on redis-server and on miniredis.
func onEachRedis(t *testing.T, test func(t *testing.T, c *Client, url secret.URL)) {
	t.Helper()
	for _, kind := range []embedded.RedisKind{embedded.RedisServer, embedded.RedisMini} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			if kind == embedded.RedisServer {
				embeddedtest.RequireServer(t)
			}
			url := embeddedtest.Start(t, kind).URL()
			c, err := NewClient(Address{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			test(t, c, url)
		})
	}
}

func TestLimitsTravel(t *testing.T) {
	t.Parallel()
	c, _ := newTestClient(t)
	ctx := ctxFor(t)
	want := map[string]device.Limits{"a": {Sessions: 3}, "b": {Sessions: device.Unlimited, Rate: 0.2}, "c": {Rate: 12.5}}
	for site, l := range want {
		if err := c.SetLimits(ctx, site, l); err != nil {
			t.Fatal(err)
		}
	}
	for site, text := range map[string]string{"odd": "3 x", "odder": "many"} {
		if err := c.redis.Set(ctx, keys{site}.limit(), text, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Limits(ctx, []string{"a", "b", "c", "none", "odd", "odder"})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

// TestGuard asks the guard alone, in front of a script that hands out.
func TestGuard(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, _ secret.URL) {
		ctx := ctxFor(t)
		now, err := c.redis.Time(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		ago := func(d time.Duration) string { return strconv.FormatInt(now.Add(-d).UnixMicro(), 10) }
		const free, full = "handed out", "nothing"
		for name, tc := range map[string]struct {
			limits, started string
			pending, active int
			paused          bool // by asynq's own key
			want            string
		}{
			"no key":                           {"", "", 1, 0, false, full},
			"no limit":                         {"-1", "", 1, 9, false, free},
			"paused":                           {"0", "", 1, 0, false, full},
			"below the limit":                  {"3", "", 1, 2, false, free},
			"at the limit":                     {"3", "", 1, 3, false, full},
			"a limit that is none":             {"many", "", 1, 0, false, full},
			"a rate and no start yet":          {"-1 0.5", "", 1, 0, false, free},
			"a rate and a start long ago":      {"-1 0.5", ago(time.Minute), 1, 0, false, free},
			"a start a moment ago":             {"-1 0.001", ago(time.Minute), 1, 0, false, "wait"},
			"paused with a rate":               {"0 0.5", "", 1, 0, false, full},
			"the limit before the rate":        {"3 0.001", ago(time.Minute), 1, 3, false, full},
			"a rate and an empty queue":        {"-1 0.5", "", 0, 0, false, full},
			"a rate and a queue asynq paused":  {"-1 0.5", "", 1, 0, true, full},
			"a start by a clock that was fast": {"-1 0.001", ago(-time.Hour), 1, 0, false, free},
			"a rate that is none":              {"-1 fast", ago(0), 1, 0, false, free},
		} {
			k := keys{strings.ReplaceAll(name, " ", "-")}
			pipe := c.redis.Pipeline()
			if tc.limits != "" {
				pipe.Set(ctx, k.limit(), tc.limits, 0)
			}
			if tc.started != "" {
				pipe.Set(ctx, "confhaul:{"+k.site+"}:started", tc.started, 0)
			}
			for range tc.pending {
				pipe.LPush(ctx, k.of("pending"), "x")
			}
			for range tc.active {
				pipe.LPush(ctx, k.of("active"), "x")
			}
			if tc.paused {
				pipe.Set(ctx, k.of("paused"), 1, 0)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
			got, err := c.redis.Eval(ctx, dequeueGuard+`return "`+free+`"`, []string{k.of("pending"), k.of("paused"), k.of("active"), k.of("lease")}, 0, k.of("t:"), "me").Result()
			if errors.Is(err, redis.Nil) {
				got, err = full, nil
			}
			if wait, ok := got.(int64); ok {
				if least, most := 900*time.Second, 940*time.Second; time.Duration(wait)*time.Microsecond < least || time.Duration(wait)*time.Microsecond > most {
					t.Errorf("%s: wait %d us, want %s to %s", name, wait, least, most)
				}
				got = "wait"
			}
			if err != nil || got != tc.want {
				t.Errorf("%s: %v, %v, want %s", name, got, err, tc.want)
			}
		}
	})
}

// TestPause pauses a site under load: what runs ends normally, nothing begins, not even what somebody asks for, and all
// goes on when it is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, url secret.URL) {
		ctx := ctxFor(t)
		setLimit(t, c, "a", 2)
		setLimit(t, c, "b", 1)
		started, release := make(chan string, 10), make(chan struct{})
		handler := func(ctx context.Context, _ string, task backup.Task) (backup.Next, error) {
			started <- task.Device
			select {
			case <-release:
				return backup.Next{}, nil
			case <-ctx.Done():
				return backup.Next{Action: backup.Again, Delay: time.Hour}, context.Cause(ctx)
			}
		}
		for i := range 4 {
			if _, err := c.EnsureNow(ctx, "a", task(fmt.Sprint("r", i)), false); err != nil {
				t.Fatal(err)
			}
		}
		startServer(t, url, 10, handler, "a", "b")
		for range 2 {
			await(t, started, "two sessions")
		}
		setLimit(t, c, "a", 0)
		if _, err := c.EnsureNow(ctx, "a", task("asked"), true); err != nil {
			t.Fatal(err)
		}
		close(release)
		awaitStates(t, c, "a", map[string]int{"completed": 2, "pending": 3})
		if _, err := c.EnsureNow(ctx, "b", task("elsewhere"), false); err != nil {
			t.Fatal(err)
		}
		if got := await(t, started, "a run elsewhere"); got != "elsewhere" {
			t.Errorf("%s runs at a paused site", got)
		}
		awaitStates(t, c, "a", map[string]int{"completed": 2, "pending": 3})
		setLimit(t, c, "a", 1) // one after the other, so that the order shows
		if got := await(t, started, "a run after the resume"); got != "asked" {
			t.Errorf("%s runs before what somebody asked for", got)
		}
		awaitStates(t, c, "a", map[string]int{"completed": 5})
	})
}

// TestRate lets two workers loose on a site with a rate. A busy machine makes starts late and never early, so the whole
// tells: n starts take (n-1)/rate at least.
func TestRate(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, url secret.URL) {
		const tasks, rate = 21, 10.0
		ctx := ctxFor(t)
		ran := make(chan string, tasks)
		handler := func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
			ran <- task.Device
			return backup.Next{}, nil
		}
		for i := range tasks {
			if _, err := c.EnsureNow(ctx, "a", task(fmt.Sprint("r", i)), false); err != nil {
				t.Fatal(err)
			}
		}
		startServer(t, url, 10, handler, "a")
		startServer(t, url, 10, handler, "a")
		began := time.Now()
		if err := c.SetLimits(ctx, "a", device.Limits{Sessions: device.Unlimited, Rate: rate}); err != nil {
			t.Fatal(err)
		}
		for range tasks {
			await(t, ran, "all tasks")
		}
		took, least := time.Since(began), time.Duration((tasks-1)/rate*float64(time.Second))
		t.Logf("%d starts at %g/s took %s, at least %s", tasks, rate, took.Round(time.Millisecond), least)
		if took < least {
			t.Errorf("%d starts at %g/s took %s, want at least %s", tasks, rate, took, least)
		}
	})
}

// TestRateKeepsOrder takes tasks one at a time, and changes a rate that would last for hours.
func TestRateKeepsOrder(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	const tasks = 8
	ran := make(chan string, tasks)
	for i := range tasks {
		if _, err := c.EnsureNow(ctx, "a", task(fmt.Sprint("r", i)), false); err != nil {
			t.Fatal(err)
		}
	}
	set := func(rate float64) {
		t.Helper()
		if err := c.SetLimits(ctx, "a", device.Limits{Sessions: 5, Rate: rate}); err != nil {
			t.Fatal(err)
		}
	}
	set(device.RateMin)
	startServer(t, url, 1, func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
		ran <- task.Device
		return backup.Next{}, nil
	}, "a")
	for i := range tasks {
		if got := await(t, ran, "the next task"); got != fmt.Sprint("r", i) {
			t.Errorf("task %d is %s", i, got)
		}
		if i == 0 {
			awaitStates(t, c, "a", map[string]int{"completed": 1, "pending": tasks - 1})
			set(50) // effective at once, though the last start was meant to hold for 1000 s
		}
	}
}

// TestLostForCounts looks at lost limits: what passes between two looks counts up to a bound, and emptying begins anew.
func TestLostForCounts(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, _ secret.URL) {
		ctx := ctxFor(t)
		look := func(low, high time.Duration) {
			t.Helper()
			lost, err := c.LostFor(ctx, []string{"a"})
			if err != nil {
				t.Fatal(err)
			}
			if ago, gone := lost["a"]; !gone || ago < low || ago > high {
				t.Errorf("lost for %s (%v), want %s to %s", ago, gone, low, high)
			}
		}
		remember := func(known, last time.Duration) {
			t.Helper()
			now, err := c.redis.Time(ctx).Result()
			if err == nil {
				err = c.redis.Set(ctx, keys{"a"}.lost(), fmt.Sprintf("%d %d", known.Milliseconds(), now.Add(-last).UnixMilli()), 0).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		look(0, 0)
		restored := func(want bool) {
			t.Helper()
			if err := c.RestoreLimits(ctx, "a", device.Limits{Sessions: 3}, 20*time.Second); err != nil {
				t.Fatal(err)
			}
			if limits, err := c.Limits(ctx, []string{"a"}); err != nil || (len(limits) == 1) != want {
				t.Errorf("restored %v, %v, want %v", limits, err, want)
			}
		}
		restored(false) // whoever looked long ago and writes now
		look(time.Millisecond, testTimeout)
		remember(10*time.Second, time.Hour)
		look(10*time.Second+lostStep, 10*time.Second+lostStep)
		remember(10*time.Second, -time.Hour) // Redis' clock was set back
		look(10*time.Second, 10*time.Second)
		restored(false)
		remember(20*time.Second, 0)
		restored(true)
		restored(true)
		if lost, err := c.LostFor(ctx, []string{"a"}); err != nil || len(lost) != 0 {
			t.Errorf("limits that are there are lost: %v, %v", lost, err)
		}
		if err := c.redis.Del(ctx, keys{"a"}.limit()).Err(); err != nil {
			t.Fatal(err)
		}
		look(0, 0)
	})
}
