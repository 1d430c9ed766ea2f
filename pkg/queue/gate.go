package queue

import (
	"context"
	"crypto/sha1" // as Redis names scripts
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
)

// guard stands in front of asynq's dequeue script (its KEYS: pending, paused, active, lease), in the same atomic script. The
// length of asynq's active list is the number of the queue's tasks in work over the whole fleet. A queue without a limit
// key hands out nothing: an emptied Redis must never mean unlimited. A task that comes too early for the site's rate stays
// pending; then the answer is the microseconds to wait. The time is Redis', so that workers' clocks do not matter; a start
// that lies ahead of it was written by another server's clock and does not count.
const guard = `
local site = string.match(KEYS[3], "{.*}")
local sessions, rate = string.match(redis.call("GET", "confhaul:" .. site .. ":limit") or "", "^(%S+) ?(%S*)$")
sessions, rate = tonumber(sessions or "") or 0, tonumber(rate or "") or 0
if sessions >= 0 and redis.call("LLEN", KEYS[3]) >= sessions then
	return nil
end
if rate > 0 then
	if redis.call("LLEN", KEYS[1]) == 0 or redis.call("EXISTS", KEYS[2]) == 1 then
		return nil
	end
	local time = redis.call("TIME")
	local now, apart = time[1] * 1000000 + time[2], 1000000 / rate
	local key = "confhaul:" .. site .. ":started"
	local ago = now - (tonumber(redis.call("GET", key) or "") or 0)
	if ago >= 0 and ago < apart then
		return math.ceil(apart - ago)
	end
	redis.call("SET", key, string.format("%.0f", now), "PX", string.format("%.0f", math.ceil(apart / 1000) + 1000))
end
`

// slotWait is how long a dequeue waits, for a session of a full worker to end and for the site's rate, before its server
// looks around again.
const slotWait = time.Second

// rescueTimeout bounds the repeated write of a finished task.
const rescueTimeout = 3 * time.Second

// finishGuard stands in front of the scripts by which asynq ends a run (complete, retry, archive), which it repeats when
// Redis did not answer: the id is the device's, and by now it may name another task, in another worker's hands. Only the
// task of the run that ended is ended; for any other there is nothing left to do.
const finishGuard = `
local function ticket(message) return string.match(message or "", '"ticket":"(%w+)"') end
local mine
for _, argument in ipairs(ARGV) do mine = mine or ticket(argument) end
for _, key in ipairs(KEYS) do
	if mine and string.find(key, "}:t:.") then
		local task = redis.call("HMGET", key, "state", "msg")
		if task[1] ~= "active" or ticket(task[2]) ~= mine then
			return redis.status_reply("OK")
		end
	end
end
`

// gate is a go-redis hook that sees every command of a worker's asynq servers. It
//   - puts the guards before asynq's scripts, which it knows by the shape of their keys and whose text it asks for by
//     answering the first EVALSHA with NOSCRIPT, whereupon go-redis sends the text;
//   - takes a slot of this process before a dequeue, which the handler gives back, so that the number of sessions is
//     counted by us and not by asynq, which forgets handlers that outlive their deadline, and no queue has more than its
//     share of them (share.go);
//   - gives a live context to the writes of finished tasks that asynq 0.25 and 0.26 repeat with a context they have
//     cancelled themselves (processor.go, defer cancel), so that a blip of Redis does not lose a result.
type gate struct {
	slots chan struct{} // holds one token per session in work
	share *share
	hold  func() bool
	told  func(err error) // hears how dequeues fail; nil: one has handed out a task, which is a write

	mu      sync.Mutex
	scripts map[string]script // by the digest of asynq's text
	guarded bool              // a dequeue with the guard has run
}

// script is one of asynq's with a guard before it.
type script struct{ text, sha string }

// newGate makes a gate. waiting says which of the served queues have tasks to hand out.
func newGate(sessions int, hold func() bool, told func(error), waiting func() map[string]bool) *gate {
	if hold == nil {
		hold = func() bool { return false }
	}
	return &gate{
		slots: make(chan struct{}, sessions), share: newShare(sessions, waiting), hold: hold, told: told,
		scripts: map[string]script{},
	}
}

// take gets a slot for a queue's session; false where none came free in time, or where the queue has its share.
func (g *gate) take(site string, late <-chan time.Time) bool {
	select {
	case g.slots <- struct{}{}:
	case <-late:
		return false
	}
	if !g.share.take(site) {
		<-g.slots
		return false
	}
	return true
}

// release gives a slot back; each handler does so once.
func (g *gate) release(site string) {
	g.share.release(site)
	<-g.slots
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		name := cmd.Name()
		if name != "evalsha" && name != "eval" {
			return next(ctx, cmd)
		}
		args := cmd.Args()
		if isDequeue(args) {
			return g.dequeue(ctx, cmd, next)
		}
		if !isFinish(args) {
			return next(ctx, cmd)
		}
		if !g.put(finishGuard, cmd) {
			return askText(cmd)
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			live, cancel := context.WithTimeout(context.WithoutCancel(ctx), rescueTimeout)
			defer cancel()
			return next(live, cmd)
		}
		return next(ctx, cmd)
	}
}

func (g *gate) dequeue(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
	limits := guard
	if backup.Sabotaged("limit") {
		limits = "-- no limits\n"
	}
	if !g.put(limits, cmd) {
		return askText(cmd)
	}
	site := siteOf(cmd.Args())
	late := time.NewTimer(slotWait)
	defer late.Stop()
	for {
		if g.hold() || !g.take(site, late.C) {
			return nothing(cmd)
		}
		err := next(ctx, cmd)
		wait, early := tooEarly(cmd, err)
		handedOut := err == nil && !early
		g.heard(err, handedOut)
		if handedOut {
			return nil // the handler gives the slot back
		}
		g.release(site) // nothing was handed out, or nobody knows: then asynq's lease brings the task back
		if !early {
			if !errors.Is(err, redis.Nil) && !isNoScript(err) {
				<-late.C // asynq asks again at once, and a Redis that refuses writes answers at once (processor.go, exec)
			}
			return err
		}
		due := time.NewTimer(wait)
		select {
		case <-due.C:
		case <-late.C:
			due.Stop()
			return nothing(cmd)
		}
	}
}

// heard notes what became of a dequeue. That nothing was handed out does not say that Redis is well: one that refuses writes
// says so, too, wherever the guard hands out nothing.
func (g *gate) heard(err error, handedOut bool) {
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		g.mu.Lock()
		g.guarded = true
		g.mu.Unlock()
		if handedOut {
			g.told(nil)
		}
	case !isNoScript(err):
		g.told(err)
	}
}

// nothing is the answer of an empty queue.
func nothing(cmd redis.Cmder) error {
	cmd.SetErr(redis.Nil)
	return redis.Nil
}

// tooEarly says whether the guard kept a task back for the site's rate, and for how long.
func tooEarly(cmd redis.Cmder, err error) (time.Duration, bool) {
	c, ok := cmd.(*redis.Cmd)
	if err != nil || !ok {
		return 0, false
	}
	n, ok := c.Val().(int64)
	return time.Duration(n) * time.Microsecond, ok
}

// put swaps the script for the one with the guard before it; false while its text is not known yet.
func (g *gate) put(guard string, cmd redis.Cmder) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	args := cmd.Args()
	of, _ := args[1].(string)
	if cmd.Name() == "eval" {
		if strings.HasPrefix(of, guard) { // a repeated command
			return true
		}
		text := guard + of
		g.scripts[digest(of)] = script{text, digest(text)}
		args[1] = text
		return true
	}
	s, known := g.scripts[of]
	if known {
		args[1] = s.sha
	}
	return known
}

// digest is the name by which Redis knows a script.
func digest(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// proven says whether a guarded dequeue has gone through Redis.
func (g *gate) proven() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.guarded
}

// isDequeue knows asynq's dequeue by its four keys: pending, paused, active, lease.
func isDequeue(args []any) bool {
	return hasKeys(args, 4, 0, "pending", "paused", "active", "lease")
}

// siteOf is the queue of a dequeue.
func siteOf(args []any) string {
	key, _ := args[3].(string)
	return strings.TrimSuffix(strings.TrimPrefix(key, "asynq:{"), "}:pending")
}

// askText makes go-redis send the script's text.
func askText(cmd redis.Cmder) error {
	cmd.SetErr(noScript{})
	return noScript{}
}

// isFinish knows done and complete (keys active, lease, ...) and retry and archive (keys t:<id>, active, lease, ...).
func isFinish(args []any) bool {
	return hasKeys(args, 0, 0, "active", "lease") || hasKeys(args, 0, 1, "active", "lease")
}

// hasKeys says whether the script's keys from position at on end in parts; n is the exact number of keys, 0 for 5 and more.
func hasKeys(args []any, n, at int, parts ...string) bool {
	if len(args) < 3 {
		return false
	}
	count, ok := args[2].(int)
	if !ok || (n > 0 && count != n) || (n == 0 && count < 5) || len(args) < 3+at+len(parts) {
		return false
	}
	for i, part := range parts {
		key, ok := args[3+at+i].(string)
		if !ok || !strings.HasPrefix(key, "asynq:{") || !strings.HasSuffix(key, "}:"+part) {
			return false
		}
	}
	return true
}

// isNoScript says whether Redis does not know the script, which go-redis then sends.
func isNoScript(err error) bool { return strings.HasPrefix(err.Error(), "NOSCRIPT ") }

// noScript makes go-redis send the script's text instead of its digest.
type noScript struct{}

func (noScript) Error() string { return "NOSCRIPT the guard asks for the text" }
func (noScript) RedisError()   {}
