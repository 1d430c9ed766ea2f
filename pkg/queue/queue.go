// Package queue owns asynq and Redis: it makes sure that a device has its one task, hands tasks to a worker under the
// limits of its site and of the process, and tells how the queues stand.
//
// A queue is a site. The task id backup:<device> is constant, which is what keeps a device to one outstanding task. The
// state of a task says what an ensure does to it:
//
//	absent              enqueue
//	completed, archived clear and enqueue (a blocked device is never ensured: the state store says so, not the archive)
//	scheduled, retry    leave; run now when urgent
//	pending             leave; move to the head of the queue when urgent
//	active              leave: whoever waits is served by it or asks again
package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	operationTimeout = 5 * time.Second
	// A task never runs out of asynq's retries: the ladder is ours (asynq keeps the number as int32).
	maxRetry = 1 << 30
	// A completed task is shown in the dashboard for this long.
	retention = time.Hour
	// Connections of a client: for the loops of asynq and our own, and one per session, but no more than poolMax. A session needs
	// one for two messages in all, and Redis takes 10,000 of everybody.
	poolBase, poolMax = 20, 200
	// Asynq's deadline lies behind every deadline of ours (settings.WholeMax): when asynq's fires first, it replaces the
	// handler's error and lets go of a session that is still open. It travels with the task, so it cannot be the enqueuer's
	// idea of how long a backup may take.
	taskTimeout = time.Hour
)

// Client enqueues and inspects. It is safe for concurrent use.
type Client struct {
	redis     redis.UniversalClient
	asynq     *asynq.Client
	inspector *asynq.Inspector
	address   secret.URL
}

// NewClient prepares a client. It does not connect: Ping does.
func NewClient(a Address) (*Client, error) {
	rc, err := open(a, 0)
	if err != nil {
		return nil, err
	}
	return &Client{
		redis: rc, asynq: asynq.NewClientFromRedisClient(rc), inspector: asynq.NewInspectorFromRedisClient(rc),
		address: a.URL,
	}, nil
}

// Close gives up the connections.
func (c *Client) Close() error { return c.redis.Close() }

// Ping says whether Redis answers.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return c.fail("reach redis", c.redis.Ping(ctx).Err())
}

// Writable says whether Redis takes writes: one that is full, read-only or cannot save answers reads all the same.
func (c *Client) Writable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return c.fail("write to redis", tryWrite(ctx, c.redis))
}

// fail classifies an error of Redis and names its address.
func (c *Client) fail(step string, err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Infrastructure, step, "redis at %s: %w", c.address, explain(err))
}

// Skew is how far this machine's clock is ahead of Redis'.
func (c *Client) Skew(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	before := time.Now()
	t, err := c.redis.Time(ctx).Result()
	if err != nil {
		return 0, c.fail("read redis clock", err)
	}
	after := time.Now()
	return before.Add(after.Sub(before) / 2).Sub(t), nil
}

// settle looks at the task that holds an id and does what the package comment says; one script, so that it acts on what
// it sees. asynq pops from the right end of pending, so RPUSH is the head of the queue.
var settle = redis.NewScript(`
local state = redis.call("HGET", KEYS[1], "state")
if not state then return "absent" end
if state == "completed" or state == "archived" then
	redis.call("ZREM", KEYS[5], ARGV[1])
	redis.call("ZREM", KEYS[6], ARGV[1])
	redis.call("DEL", KEYS[1])
	return "absent"
end
if ARGV[2] == "now" then
	if state == "scheduled" or state == "retry" then
		redis.call("ZREM", KEYS[3], ARGV[1])
		redis.call("ZREM", KEYS[4], ARGV[1])
		redis.call("RPUSH", KEYS[2], ARGV[1])
		redis.call("HSET", KEYS[1], "state", "pending", "pending_since", ARGV[3])
		return "pending"
	end
	if state == "pending" and ARGV[4] == "head" then
		redis.call("LREM", KEYS[2], 1, ARGV[1])
		redis.call("RPUSH", KEYS[2], ARGV[1])
	end
end
return state`)

// How says when an ensured task is to run.
type how struct{ now, head bool }

// Ensure makes sure that the device has a task that runs at the given time, or has an earlier one. It returns where the
// task stands: Scheduled, Pending or Active.
func (c *Client) Ensure(ctx context.Context, site string, t backup.Task, at time.Time) (backup.Standing, error) {
	return c.ensure(ctx, site, t, at, how{})
}

// EnsureNow makes sure that the device's task is pending or runs. With head it goes before the others of its queue, which
// costs Redis a walk along the queue: not for thousands of devices.
func (c *Client) EnsureNow(ctx context.Context, site string, t backup.Task, head bool) (backup.Standing, error) {
	return c.ensure(ctx, site, t, time.Time{}, how{now: true, head: head})
}

func (c *Client) ensure(ctx context.Context, site string, t backup.Task, at time.Time, h how) (backup.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	id := backup.TaskID(t.Device)
	t.Ticket = rand.Text()
	opts := []asynq.Option{asynq.Queue(site), asynq.TaskID(id), asynq.MaxRetry(maxRetry), asynq.Timeout(taskTimeout), asynq.Retention(retention)}
	if !h.now {
		opts = append(opts, asynq.ProcessAt(at))
	}
	for range 5 { // each turn loses to another process that changed the task in between
		if !h.head { // an urgent task first looks, so that a new one is put at the head at once
			info, err := c.asynq.EnqueueContext(ctx, asynq.NewTask(backup.TaskType, t.Encode()), opts...)
			if err == nil {
				return standing(info.State), nil
			}
			if !errors.Is(err, asynq.ErrTaskIDConflict) {
				return "", c.fail("enqueue", err)
			}
		}
		state, err := c.settle(ctx, site, id, h)
		if err != nil {
			return "", err
		}
		if state != backup.Absent {
			return state, nil
		}
		if h.head {
			_, err := c.asynq.EnqueueContext(ctx, asynq.NewTask(backup.TaskType, t.Encode()), opts...)
			if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
				return "", c.fail("enqueue", err)
			}
		}
	}
	return "", fault.New(fault.Infrastructure, "enqueue", "task %s in queue %s kept changing under us", id, site)
}

func (c *Client) settle(ctx context.Context, site, id string, h how) (backup.Standing, error) {
	mode, head := "later", "tail"
	if h.now {
		mode = "now"
	}
	if h.head {
		head = "head"
	}
	k := keys{site}
	s, err := settle.Run(ctx, c.redis,
		[]string{k.task(id), k.of("pending"), k.of("scheduled"), k.of("retry"), k.of("completed"), k.of("archived")},
		id, mode, time.Now().UnixNano(), head).Text()
	if err != nil {
		return "", c.fail("look at task", err)
	}
	if s == "retry" {
		return backup.Scheduled, nil
	}
	return backup.Standing(s), nil
}

func standing(s asynq.TaskState) backup.Standing {
	if s == asynq.TaskStatePending {
		return backup.Pending
	}
	return backup.Scheduled
}

// remove deletes a task that is not in work.
var remove = redis.NewScript(`
local state = redis.call("HGET", KEYS[1], "state")
if not state then return "absent" end
if state == "active" then return "active" end
redis.call("LREM", KEYS[2], 1, ARGV[1])
for i = 3, 6 do redis.call("ZREM", KEYS[i], ARGV[1]) end
redis.call("DEL", KEYS[1])
return "absent"`)

// Remove deletes the device's task unless it runs; it returns Absent or Active.
func (c *Client) Remove(ctx context.Context, site, deviceID string) (backup.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	k, id := keys{site}, backup.TaskID(deviceID)
	s, err := remove.Run(ctx, c.redis,
		[]string{k.task(id), k.of("pending"), k.of("scheduled"), k.of("retry"), k.of("completed"), k.of("archived")}, id).Text()
	return backup.Standing(s), c.fail("remove task", err)
}

// queuesKey is where asynq lists the queues that its inspector and the dashboard know.
const queuesKey = "asynq:queues"

// keys names asynq's keys of one queue.
type keys struct{ site string }

func (k keys) of(part string) string { return "asynq:{" + k.site + "}:" + part }
func (k keys) task(id string) string { return k.of("t:") + id }
func (k keys) limit() string         { return "confhaul:{" + k.site + "}:limit" }
func (k keys) lost() string          { return "confhaul:{" + k.site + "}:lost" }
func (k keys) states() [6]string {
	return [6]string{"pending", "active", "scheduled", "retry", "completed", "archived"}
}
func (k keys) isList(part string) bool { return part == "pending" || part == "active" }

// Missing tells which of the site's devices have no task that is yet to run or runs; completed and archived do not count.
func (c *Client) Missing(ctx context.Context, site string, deviceIDs []string) ([]string, error) {
	states, err := c.states(ctx, site, deviceIDs)
	if err != nil {
		return nil, err
	}
	var missing []string
	for i, s := range states {
		if s == "" || s == "completed" || s == "archived" {
			missing = append(missing, deviceIDs[i])
		}
	}
	return missing, nil
}

// Counts gives the number of tasks by site and state.
func (c *Client) Counts(ctx context.Context, sites []string) (map[string]map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	pipe := c.redis.Pipeline()
	got := map[string]map[string]*redis.IntCmd{}
	for _, s := range sites {
		k := keys{s}
		got[s] = map[string]*redis.IntCmd{}
		for _, part := range k.states() {
			if k.isList(part) {
				got[s][part] = pipe.LLen(ctx, k.of(part))
			} else {
				got[s][part] = pipe.ZCard(ctx, k.of(part))
			}
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, c.fail("count tasks", err)
	}
	out := map[string]map[string]int{}
	for s, parts := range got {
		out[s] = map[string]int{}
		for part, n := range parts {
			out[s][part] = int(n.Val())
		}
	}
	return out, nil
}

// ServedSites tells which sites have a live worker.
func (c *Client) ServedSites() (map[string]bool, error) {
	servers, err := c.inspector.Servers()
	if err != nil {
		return nil, c.fail("list workers", err)
	}
	out := map[string]bool{}
	for _, s := range servers {
		for q := range s.Queues {
			out[q] = true
		}
	}
	return out, nil
}

// LastError is why the device's task was last put back, and "" where it was not or has gone.
func (c *Client) LastError(site, deviceID string) string {
	info, err := c.inspector.GetTaskInfo(site, backup.TaskID(deviceID))
	if err != nil || info.State != asynq.TaskStateRetry {
		return ""
	}
	return info.LastErr
}

// Online reads the optional status key of a device: "" where it is missing.
func (c *Client) Online(ctx context.Context, deviceID string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	s, err := c.redis.Get(ctx, "device:"+deviceID+":status").Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return s, c.fail("read device status", err)
}
