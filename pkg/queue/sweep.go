package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
)

// leaseDuration is asynq's (internal/rdb: LeaseDuration).
const leaseDuration = 30 * time.Second

// leaseSlack is how long after its end a lease still counts: it was written by a worker's clock, which is up to 10 s off,
// and is read by Redis'; a worker that is cut off from Redis notices the end at its next heartbeat, 5 s later or, where that
// hangs, about 6 s more, and then has to close its session.
const leaseSlack = 25 * time.Second

// recoverLost puts tasks back whose lease has ended. asynq's recoverer does so too, but only once a minute and 30 s late,
// and all the time the task of a dead worker counts against its site's limit. KEYS: lease, active, retry. ARGV: slack in
// seconds, task key prefix, delay in seconds.
const recoverLost = `
local now, n = tonumber(redis.call("TIME")[1]), 0
for _, id in ipairs(redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", now - ARGV[1], "LIMIT", 0, 100)) do
	redis.call("ZREM", KEYS[1], id)
	if redis.call("LREM", KEYS[2], 0, id) > 0 and redis.call("HGET", ARGV[2] .. id, "state") == "active" then
		redis.call("ZADD", KEYS[3], now + ARGV[3], id)
		redis.call("HSET", ARGV[2] .. id, "state", "retry")
		n = n + 1
	end
end
return n`

// sweepActive repairs active list and lease set, both of which asynq's scripts change together: what is in one and not in
// the other is never a passing state. A lease without an active task is taken away, as it fails at each of the recoverer's
// turns. KEYS: active, lease, asynq:queues. ARGV: new lease, task key prefix, queue.
var sweepActive = redis.NewScript(`
local repaired, active = 0, {}
redis.call("SADD", KEYS[3], ARGV[3])
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
	if redis.call("HEXISTS", ARGV[2] .. id, "msg") == 0 then
		redis.call("LREM", KEYS[1], 0, id)
		redis.call("ZREM", KEYS[2], id)
		redis.call("DEL", ARGV[2] .. id)
		repaired = repaired + 1
	else
		active[id] = true
		if not redis.call("ZSCORE", KEYS[2], id) then
			redis.call("ZADD", KEYS[2], ARGV[1], id)
			repaired = repaired + 1
		end
	end
end
for _, id in ipairs(redis.call("ZRANGE", KEYS[2], 0, -1)) do
	if not active[id] then redis.call("ZREM", KEYS[2], id) end
end
return repaired`)

// dropOrphan deletes a task that is where its state does not say. KEYS: task, then the lists and sets of queued. ARGV: id,
// the state in which it was missed.
var dropOrphan = redis.NewScript(`
if redis.call("HGET", KEYS[1], "state") ~= ARGV[2] then return 0 end
for i = 2, 3 do
	for _, id in ipairs(redis.call("LRANGE", KEYS[i], 0, -1)) do
		if id == ARGV[1] then return 0 end
	end
end
for i = 4, 5 do
	if redis.call("ZSCORE", KEYS[i], ARGV[1]) then return 0 end
end
return redis.call("DEL", KEYS[1])`)

// Sweep repairs what asynq cannot see of a site's queue (its issues 1051 and 1144), lists the queue where the inspector and
// the dashboard look for it, and returns the number of repaired tasks:
//   - a running one that lost its lease gets a new one: a live worker keeps it up, asynq's recoverer finds a dead one's;
//   - an entry of the active list without a task goes: it counted against the limit for ever;
//   - one of the given devices' that is in no list goes, as a result leaves it whose script failed half way: its id was
//     taken for ever. Missing tells then that it is to be made again.
//
// It costs Redis the active list and one field per device.
func (c *Client) Sweep(ctx context.Context, site string, deviceIDs []string) (repaired int, err error) {
	k := keys{site}
	sctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	repaired, err = sweepActive.Run(sctx, c.redis, []string{k.of("active"), k.of("lease"), queuesKey},
		time.Now().Add(leaseDuration).Unix(), k.of("t:"), site).Int()
	if err != nil {
		return 0, c.fail("sweep queue", err)
	}
	dropped, err := c.dropOrphans(ctx, k, deviceIDs)
	return repaired + dropped, err
}

// queued are the states of a task that is yet to run or runs; each has a list or a sorted set of its own.
var queued = []string{"pending", "active", "scheduled", "retry"}

// dropOrphans looks through the lists only where they hold fewer tasks than say that they are in them, the short active
// list aside: a full walk along a long queue is for damaged ones.
func (c *Client) dropOrphans(ctx context.Context, k keys, deviceIDs []string) (int, error) {
	states, err := c.states(ctx, k.site, deviceIDs)
	if err != nil {
		return 0, err
	}
	byState := map[string][]string{}
	for i, state := range states {
		byState[state] = append(byState[state], backup.TaskID(deviceIDs[i]))
	}
	dropped := 0
	for _, state := range queued {
		ids := byState[state]
		if len(ids) == 0 {
			continue
		}
		missed, err := c.missed(ctx, k, state, ids)
		if err != nil {
			return dropped, err
		}
		for _, id := range missed {
			n, err := c.dropOrphan(ctx, k, id, state)
			if err != nil {
				return dropped, err
			}
			dropped += n
		}
	}
	return dropped, nil
}

// missed tells which of the tasks, all of one state, are not in its list.
func (c *Client) missed(ctx context.Context, k keys, state string, ids []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	var (
		size    *redis.IntCmd
		members *redis.StringSliceCmd
	)
	if k.isList(state) {
		size = c.redis.LLen(ctx, k.of(state))
	} else {
		size = c.redis.ZCard(ctx, k.of(state))
	}
	if size.Err() != nil {
		return nil, c.fail("sweep queue", size.Err())
	}
	if state != "active" && int(size.Val()) >= len(ids) {
		return nil, nil
	}
	if k.isList(state) {
		members = c.redis.LRange(ctx, k.of(state), 0, -1)
	} else {
		members = c.redis.ZRange(ctx, k.of(state), 0, -1)
	}
	if members.Err() != nil {
		return nil, c.fail("sweep queue", members.Err())
	}
	there := make(map[string]bool, len(members.Val()))
	for _, id := range members.Val() {
		there[id] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return there[id] }), nil
}

func (c *Client) dropOrphan(ctx context.Context, k keys, id, state string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	where := []string{k.task(id)}
	for _, s := range queued {
		where = append(where, k.of(s))
	}
	n, err := dropOrphan.Run(ctx, c.redis, where, id, state).Int()
	return n, c.fail("sweep queue", err)
}

// states reads in which state of asynq each device's task is: "" where there is none.
func (c *Client) states(ctx context.Context, site string, deviceIDs []string) ([]string, error) {
	const batch = 1000
	out := make([]string, 0, len(deviceIDs))
	for ids := range slices.Chunk(deviceIDs, batch) {
		bctx, cancel := context.WithTimeout(ctx, operationTimeout)
		pipe := c.redis.Pipeline()
		got := make([]*redis.StringCmd, len(ids))
		for i, id := range ids {
			got[i] = pipe.HGet(bctx, keys{site}.task(backup.TaskID(id)), "state")
		}
		_, err := pipe.Exec(bctx)
		cancel()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, c.fail("look for tasks", err)
		}
		for _, g := range got {
			out = append(out, g.Val())
		}
	}
	return out, nil
}
