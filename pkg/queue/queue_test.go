package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/secret"
)

const testTimeout = 30 * time.Second

func newTestClient(t *testing.T) (*Client, secret.URL) {
	t.Helper()
	url := embeddedtest.Redis(t)
	c, err := NewClient(Address{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, url
}

func startServer(t *testing.T, url secret.URL, sessions int, h Handler, sites ...string) *Server {
	t.Helper()
	return startServerAt(t, Address{URL: url}, sessions, h, sites...)
}

func startServerAt(t *testing.T, a Address, sessions int, h Handler, sites ...string) *Server {
	t.Helper()
	s, err := NewServer(ServerOptions{Address: a, Sessions: sessions, Grace: 6 * time.Second, Handler: h, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for _, site := range sites {
		if err := s.Serve(site); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func ctxFor(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func setLimit(t *testing.T, c *Client, site string, n int) {
	t.Helper()
	if err := c.SetLimits(ctxFor(t), site, device.Limits{Sessions: n}); err != nil {
		t.Fatal(err)
	}
}

func task(id string) backup.Task { return backup.Task{Device: id, Slot: 1, Reason: backup.ReasonSlot} }

// await reads from ch or fails.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(testTimeout):
		t.Fatal("timed out waiting for " + what)
		panic("unreachable")
	}
}

// ends is how a handler finishes a task in the conflict table.
func TestEnsureConflictTable(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", device.Unlimited)
	ended := make(chan string, 10)
	started := make(chan string, 10)
	release := make(chan struct{})
	handler := func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
		defer func() { ended <- task.Device }()
		switch task.Device {
		case "done":
			return backup.Next{Action: backup.Done}, nil
		case "blocked":
			return backup.Next{Action: backup.Stop}, errors.New("login refused")
		case "retry":
			return backup.Next{Action: backup.Again, Delay: time.Hour}, errors.New("no answer")
		}
		started <- task.Device
		<-release
		return backup.Next{Action: backup.Done}, nil
	}
	later := time.Now().Add(time.Hour)
	if got, err := c.Ensure(ctx, "a", task("scheduled"), later); err != nil || got != backup.Scheduled {
		t.Fatalf("new task for later: %v %v", got, err)
	}
	s := startServer(t, url, 4, handler, "a")
	for _, id := range []string{"done", "blocked", "retry", "active"} {
		if got, err := c.EnsureNow(ctx, "a", task(id), false); err != nil || got != backup.Pending {
			t.Fatalf("new task %s: %v %v", id, got, err)
		}
	}
	for range 3 {
		await(t, ended, "a handler's end")
	}
	await(t, started, "the active task")
	awaitStates(t, c, "a", map[string]int{"completed": 1, "archived": 1, "retry": 1, "active": 1, "scheduled": 1})
	s.mu.Lock()
	srv := s.servers["a"]
	s.mu.Unlock()
	srv.Stop() // from here on what becomes pending stays so

	for _, tc := range []struct {
		id   string
		now  bool
		want backup.Standing
	}{
		{"active", false, backup.Active},
		{"active", true, backup.Active},
		{"scheduled", false, backup.Scheduled},
		{"retry", false, backup.Scheduled},
		{"retry", true, backup.Pending},
		{"scheduled", true, backup.Pending},
		{"scheduled", false, backup.Pending},
		{"done", false, backup.Scheduled},
		{"blocked", true, backup.Pending},
	} {
		var (
			got backup.Standing
			err error
		)
		if tc.now {
			got, err = c.EnsureNow(ctx, "a", task(tc.id), true)
		} else {
			got, err = c.Ensure(ctx, "a", task(tc.id), later)
		}
		if err != nil || got != tc.want {
			t.Errorf("ensure %s now=%v: got %v %v, want %v", tc.id, tc.now, got, err, tc.want)
		}
	}
	missing, err := c.Missing(ctx, "a", []string{"done", "active", "never"})
	if err != nil || len(missing) != 1 || missing[0] != "never" {
		t.Errorf("missing: %v %v", missing, err)
	}
	if got, err := c.Remove(ctx, "a", "active"); err != nil || got != backup.Active {
		t.Errorf("remove a running task: %v %v", got, err)
	}
	for _, id := range []string{"done", "blocked", "retry", "scheduled", "never"} {
		if got, err := c.Remove(ctx, "a", id); err != nil || got != backup.Absent {
			t.Errorf("remove %s: %v %v", id, got, err)
		}
	}
	close(release)
	awaitStates(t, c, "a", map[string]int{"completed": 1})
}

// awaitStates polls until the site's tasks stand as wanted.
func awaitStates(t *testing.T, c *Client, site string, want map[string]int) {
	t.Helper()
	ctx := ctxFor(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		counts, err := c.Counts(ctx, []string{site})
		if err != nil {
			t.Fatal(err)
		}
		same := true
		for state, n := range counts[site] {
			same = same && n == want[state]
		}
		if same {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("tasks stand as %v, want %v", counts[site], want)
		case <-tick.C:
		}
	}
}

// TestHeadGoesFirst has a backlog of three; the urgent fourth runs first.
func TestHeadGoesFirst(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", 1)
	for _, id := range []string{"one", "two", "three"} {
		if _, err := c.EnsureNow(ctx, "a", task(id), false); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"two", "urgent"} {
		if _, err := c.EnsureNow(ctx, "a", task(id), true); err != nil {
			t.Fatal(err)
		}
	}
	order := make(chan string, 4)
	startServer(t, url, 1, func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
		order <- task.Device
		return backup.Next{}, nil
	}, "a")
	for _, want := range []string{"urgent", "two", "one", "three"} {
		if got := await(t, order, want); got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	}
}

// TestLimits runs two workers of ten sessions on a site that allows three, and checks that a site without a limit key gets
// nothing, that a limit is raised while running, and that a process never exceeds its own sessions.
func TestLimits(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	var inSite, highest, total atomic.Int64
	ran := make(chan struct{}, 200)
	gateCh := make(chan struct{})
	handler := func(context.Context, string, backup.Task) (backup.Next, error) {
		n := inSite.Add(1)
		for h := highest.Load(); n > h && !highest.CompareAndSwap(h, n); h = highest.Load() {
		}
		total.Add(1)
		ran <- struct{}{}
		<-gateCh
		inSite.Add(-1)
		return backup.Next{}, nil
	}
	const tasks = 40
	for i := range tasks {
		if _, err := c.EnsureNow(ctx, "a", task(string(rune('A'+i))), false); err != nil {
			t.Fatal(err)
		}
	}
	one, two := startServer(t, url, 10, handler, "a"), startServer(t, url, 10, handler, "a")
	for _, s := range []*Server{one, two} {
		if err := s.Verify(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := total.Load(); n != 0 {
		t.Fatalf("%d tasks ran in a site without a limit key", n)
	}
	setLimit(t, c, "a", 3)
	for range 3 {
		await(t, ran, "three sessions")
	}
	for range 5 {
		gateCh <- struct{}{} // one ends, one begins
		await(t, ran, "the next session")
	}
	if n := highest.Load(); n != 3 {
		t.Errorf("%d sessions at once under a limit of 3", n)
	}
	setLimit(t, c, "a", device.Unlimited)
	for range 17 {
		await(t, ran, "both workers' sessions")
	}
	if n := highest.Load(); n != 20 {
		t.Errorf("%d sessions at once, want the 20 of both workers", n)
	}
	close(gateCh)
	awaitStates(t, c, "a", map[string]int{"completed": tasks})
	if n := highest.Load(); n != 20 {
		t.Errorf("%d sessions at once, want at most 20", n)
	}
}

// TestEmptiedRedisEndsSessions flushes Redis under a running task: its session is told, and nothing more is handed out.
func TestEmptiedRedisEndsSessions(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", device.Unlimited)
	started, cause := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	startServer(t, url, 2, func(ctx context.Context, _ string, _ backup.Task) (backup.Next, error) {
		once.Do(func() { close(started) })
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return backup.Next{Action: backup.Again, Delay: time.Hour}, nil
	}, "a")
	if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil {
		t.Fatal(err)
	}
	await(t, started, "the task")
	if err := c.redis.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, cause, "the session's end"); !errors.Is(err, ErrLost) {
		t.Errorf("session ended by %v", err)
	}
	if limits, err := c.Limits(ctx, []string{"a"}); err != nil || len(limits) != 0 {
		t.Errorf("limits after the flush: %v %v", limits, err)
	}
}

// TestStopReturnsTasksUncounted stops a worker whose session does not end by itself.
func TestStopReturnsTasksUncounted(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", device.Unlimited)
	started := make(chan struct{})
	s := startServer(t, url, 2, func(ctx context.Context, _ string, _ backup.Task) (backup.Next, error) {
		close(started)
		<-ctx.Done()
		return backup.Next{Action: backup.Again, Delay: time.Second}, context.Cause(ctx)
	}, "a")
	if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil {
		t.Fatal(err)
	}
	await(t, started, "the task")
	s.Stop()
	info, err := c.inspector.GetTaskInfo("a", backup.TaskID("x"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Retried != 0 || info.LastErr != ErrDraining.Error() {
		t.Errorf("task after the stop: retried %d, last error %q", info.Retried, info.LastErr)
	}
}

// TestResultSurvivesBlip gives the hook a finish script whose context asynq has cancelled already.
func TestResultSurvivesBlip(t *testing.T) {
	t.Parallel()
	g := newGate(1, nil, func(error) {}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var live bool
	hook := g.ProcessHook(func(ctx context.Context, _ redis.Cmder) error { live = ctx.Err() == nil; return nil })
	cmd := redis.NewCmd(ctx, "eval", "return 1", 5, "asynq:{a}:active", "asynq:{a}:lease", "asynq:{a}:t:x", "p", "q")
	if err := hook(ctx, cmd); err != nil || !live {
		t.Errorf("finish script ran with a live context: %v (%v)", live, err)
	}
	other := redis.NewCmd(ctx, "evalsha", "sha", 5, "asynq:{a}:pending", "x", "y", "p", "q")
	if err := hook(ctx, other); err != nil || live {
		t.Errorf("another script got a live context: %v (%v)", live, err)
	}
}

// TestNewerTaskGoesBack keeps a newer binary's payload for a worker that can read it.
func TestNewerTaskGoesBack(t *testing.T) {
	t.Parallel()
	if _, err := backup.DecodeTask([]byte(`{"v":2,"device":"x"}`)); !errors.Is(err, backup.ErrNewerTask) {
		t.Errorf("version 2: %v", err)
	}
	err := verdict(backup.Next{Action: backup.Again, Delay: backup.NewerDelay}, backup.ErrNewerTask)
	if retryDelay(0, err, nil) != backup.NewerDelay || isFailure(err) {
		t.Errorf("a newer task waits %s and counts %v", retryDelay(0, err, nil), isFailure(err))
	}
}

// TestOnline: a handler hears what the device's status key said, and a key that cannot be read keeps nobody waiting.
func TestOnline(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", -1)
	for _, err := range []error{
		c.redis.Set(ctx, "device:x:status", "offline", 0).Err(), c.redis.LPush(ctx, "device:y:status", "offline").Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan [2]string, 3)
	s := startServer(t, url, 1, func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
		got <- [2]string{task.Device, task.Online}
		return backup.Next{}, nil
	}, "a")
	for device, want := range map[string]string{"x": "offline", "y": "", "z": ""} {
		if _, err := c.EnsureNow(ctx, "a", task(device), false); err != nil {
			t.Fatal(err)
		}
		if g := await(t, got, "the handler of "+device); g != [2]string{device, want} {
			t.Errorf("got %q, want %q of %s", g, want, device)
		}
	}
	if n := len(s.gate.statuses); n != 0 {
		t.Errorf("%d statuses are kept for good", n)
	}
}
