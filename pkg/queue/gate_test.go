package queue

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/secret"
)

// hold makes the device's task look as it does while a worker holds it, with a lease that ended long ago.
func hold(t *testing.T, c *Client, device string) {
	t.Helper()
	ctx, k, id := ctxFor(t), keys{"a"}, backup.TaskID(device)
	if _, err := c.Ensure(ctx, "a", task(device), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	pipe := c.redis.Pipeline()
	pipe.ZRem(ctx, k.of("scheduled"), id)
	pipe.HSet(ctx, k.task(id), "state", "active", "run", "of another worker")
	pipe.LPush(ctx, k.of("active"), id)
	pipe.ZAdd(ctx, k.of("lease"), redis.Z{Score: 1, Member: id})
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestFinishEndsItsOwnRun empties Redis under a run and gives the device's next task to another worker: whatever the first
// run ends with, the other's stays in work.
func TestFinishEndsItsOwnRun(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]backup.Next{
		"complete": {},
		"retry":    {Action: backup.Again, Delay: time.Minute},
		"archive":  {Action: backup.Stop},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachRedis(t, func(t *testing.T, c *Client, url secret.URL) {
				ctx, k, id := ctxFor(t), keys{"a"}, backup.TaskID("x")
				setLimit(t, c, "a", device.Unlimited)
				started, release := make(chan struct{}), make(chan struct{})
				s := startServer(t, url, 1, func(context.Context, string, backup.Task) (backup.Next, error) {
					close(started)
					<-release
					return next, errors.New("the end of the first run")
				}, "a")
				if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil {
					t.Fatal(err)
				}
				await(t, started, "the first run")
				if err := c.redis.FlushAll(ctx).Err(); err != nil {
					t.Fatal(err)
				}
				hold(t, c, "x")
				close(release)
				s.Stop() // waits for what asynq writes
				if state := c.redis.HGet(ctx, k.task(id), "state").Val(); state != "active" {
					t.Errorf("the other run's task is %s", state)
				}
				if n := c.redis.LLen(ctx, k.of("active")).Val(); n != 1 {
					t.Errorf("%d tasks count against the limit, want 1", n)
				}
			})
		})
	}
}

// TestLostSessionIsTold lets another task of the device stand where the running one stood.
func TestLostSessionIsTold(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "a", device.Unlimited)
	started, cause := make(chan struct{}), make(chan error, 1)
	s := startServer(t, url, 1, func(ctx context.Context, _ string, _ backup.Task) (backup.Next, error) {
		close(started)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return backup.Next{}, nil
	}, "a")
	if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil {
		t.Fatal(err)
	}
	await(t, started, "the task")
	if err := c.redis.Del(ctx, keys{"a"}.task(backup.TaskID("x")), keys{"a"}.of("active")).Err(); err != nil {
		t.Fatal(err)
	}
	hold(t, c, "x")
	s.dropLost(ctx)
	if err := await(t, cause, "the session's end"); !errors.Is(err, ErrLost) {
		t.Errorf("session ended by %v", err)
	}
}

// TestTasksOfTheDeadComeBack leaves one task behind as a killed worker does, and one whose lease has just ended.
func TestTasksOfTheDeadComeBack(t *testing.T) {
	t.Parallel()
	onEachRedis(t, func(t *testing.T, c *Client, url secret.URL) {
		ctx, k := ctxFor(t), keys{"a"}
		setLimit(t, c, "a", 0)
		hold(t, c, "dead")
		hold(t, c, "slow")
		just := redis.Z{Score: float64(time.Now().Unix()) - leaseSlack.Seconds() + testTimeout.Seconds(), Member: backup.TaskID("slow")}
		if err := c.redis.ZAdd(ctx, k.of("lease"), just).Err(); err != nil {
			t.Fatal(err)
		}
		s := startServer(t, url, 1, nil, "a")
		s.recover(ctx)
		if states, err := c.states(ctx, "a", []string{"dead", "slow"}); err != nil || states[0] != "retry" || states[1] != "active" {
			t.Errorf("states %v, %v", states, err)
		}
		if n := c.redis.LLen(ctx, k.of("active")).Val(); n != 1 {
			t.Errorf("%d tasks count against the limit, want 1", n)
		}
		due, err := c.inspector.GetTaskInfo("a", backup.TaskID("dead"))
		if err != nil || time.Until(due.NextProcessAt) > backup.LostLeaseDelay || time.Until(due.NextProcessAt) < backup.LostLeaseDelay-testTimeout {
			t.Errorf("comes back as %+v, %v", due, err)
		}
	})
}

// TestRequeueSparesOthers stops a worker whose handler outlives its stop, after Redis was emptied and the device's next task
// went to another worker.
func TestRequeueSparesOthers(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx, k, id := ctxFor(t), keys{"a"}, backup.TaskID("x")
	setLimit(t, c, "a", device.Unlimited)
	started, release := make(chan struct{}), make(chan struct{})
	s := startServer(t, url, 1, func(context.Context, string, backup.Task) (backup.Next, error) {
		close(started)
		<-release
		return backup.Next{}, nil
	}, "a")
	if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil {
		t.Fatal(err)
	}
	await(t, started, "the run")
	if err := c.redis.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	hold(t, c, "x")
	if err := c.redis.ZAdd(ctx, k.of("lease"), redis.Z{Score: float64(time.Now().Add(leaseDuration).Unix()), Member: id}).Err(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	close(release)
	if state, n := c.redis.HGet(ctx, k.task(id), "state").Val(), c.redis.LLen(ctx, k.of("active")).Val(); state != "active" || n != 1 {
		t.Errorf("the other worker's task is %s, %d count against the limit", state, n)
	}
}

// loseAnswer has Redis do the first end of a run and answers that it did not.
type loseAnswer struct {
	done atomic.Bool
	args []any // of the script that Redis has done
}

func (l *loseAnswer) DialHook(next redis.DialHook) redis.DialHook { return next }
func (l *loseAnswer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (l *loseAnswer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if args := cmd.Args(); err == nil && (args[0] == "evalsha" || args[0] == "eval") && isFinish(args) && l.done.CompareAndSwap(false, true) {
			l.args, err = args, errors.New("the answer was lost")
			cmd.SetErr(err)
		}
		return err
	}
}

// TestRepeatSparesNextRun loses the answer to the end of a run; the same task is taken again before asynq repeats that end.
func TestRepeatSparesNextRun(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx, k, id := ctxFor(t), keys{"a"}, backup.TaskID("x")
	setLimit(t, c, "a", 1)
	var runs atomic.Int32
	began, release := make(chan struct{}, 2), make(chan struct{})
	s := startServer(t, url, 2, func(ctx context.Context, _ string, _ backup.Task) (backup.Next, error) {
		began <- struct{}{}
		if runs.Add(1) == 1 {
			return backup.Next{Action: backup.Again, Delay: time.Minute}, errors.New("put back")
		}
		select {
		case <-ctx.Done():
			t.Errorf("the second run was ended by %v", context.Cause(ctx))
		case <-release:
		}
		return backup.Next{}, nil
	}, "a")
	lost := &loseAnswer{}
	s.redis.AddHook(lost)
	if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil {
		t.Fatal(err)
	}
	await(t, began, "the first run")
	awaitStates(t, c, "a", map[string]int{"retry": 1})
	if _, err := c.EnsureNow(ctx, "a", task("x"), false); err != nil { // somebody asks for it
		t.Fatal(err)
	}
	await(t, began, "the second run")
	repeat := slices.Clone(lost.args[:len(lost.args)-1])
	for of, guarded := range s.gate.scripts {
		if repeat[1] == guarded.sha || repeat[1] == guarded.text {
			repeat[0], repeat[1] = "evalsha", of
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel() // as asynq does
	if err := s.redis.Do(over, repeat...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("the repeat: %v", err)
	}
	if state, n := c.redis.HGet(ctx, k.task(id), "state").Val(), c.redis.LLen(ctx, k.of("active")).Val(); state != "active" || n != 1 {
		t.Errorf("the second run's task is %s, %d count against the limit", state, n)
	}
	s.dropLost(ctx)
	close(release)
	awaitStates(t, c, "a", map[string]int{"completed": 1})
}

// TestOddAnswer: a dequeue whose answer nobody understands hands out nothing and keeps no slot.
func TestOddAnswer(t *testing.T) {
	t.Parallel()
	g := newGate(1, nil, func(error) {}, func() map[string]bool { return nil })
	k := keys{"a"}
	cmd := redis.NewCmd(t.Context(), "eval", "return 1", 4, k.of("pending"), k.of("paused"), k.of("active"), k.of("lease"), 0, k.of("t:"))
	err := g.dequeue(t.Context(), cmd, func(_ context.Context, c redis.Cmder) error {
		c.(*redis.Cmd).SetVal("message")
		return nil
	})
	if err == nil || len(g.slots) != 0 || g.share.held["a"] != 0 {
		t.Errorf("error %v, %d slots taken, %d of the site", err, len(g.slots), g.share.held["a"])
	}
}
