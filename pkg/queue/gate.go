package queue

import (
	"context"
	"crypto/rand"
	"crypto/sha1" // as Redis names scripts
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
)

// dequeueGuard stands in front of asynq's dequeue script (its KEYS: pending, paused, active, lease), in the same atomic script. The
// length of asynq's active list is the number of the queue's tasks in work over the whole fleet. A queue without a limit
// key hands out nothing: an emptied Redis must never mean unlimited. A task that comes too early for the site's rate stays
// pending; then the answer is the microseconds to wait. The time is Redis', so that workers' clocks do not matter; a start
// that lies ahead of it was written by another server's clock and does not count.
const dequeueGuard = `
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
local next = redis.call("LINDEX", KEYS[1], -1)
if next and redis.call("EXISTS", KEYS[2]) == 0 and redis.call("EXISTS", ARGV[2] .. next) == 1 then
	redis.call("HSET", ARGV[2] .. next, "run", ARGV[#ARGV])
end
`

// handOut runs asynq's dequeue script and says, beside the message that it gives, what the device's status key says: a look
// that costs nothing here and a message of its own elsewhere. A key that cannot be read is none.
const handOut = `
local message = dequeue()
if not message then return nil end
local status = redis.pcall("GET", "device:" .. (string.match(next or "", "^backup:(.*)$") or "") .. ":status")
return {message, type(status) == "string" and status or "", next}
`

// guardDequeue makes asynq's dequeue script one with its guard.
func guardDequeue(script string) string {
	guard := dequeueGuard
	if backup.Sabotaged("limit") {
		guard = `local next = redis.call("LINDEX", KEYS[1], -1)`
	}
	return guard + "\nlocal function dequeue()\n" + script + "\nend\n" + handOut
}

// guardFinish makes a script by which asynq ends a run one with its guard.
func guardFinish(script string) string { return finishGuard + script }

// slotWait is how long a dequeue waits, for a session of a full worker to end and for the site's rate, before its server
// looks around again.
const slotWait = time.Second

// rescueTimeout bounds the repeated write of a finished task.
const rescueTimeout = 3 * time.Second

// finishGuard stands in front of the scripts by which asynq ends a run (complete, retry, archive, requeue), which it repeats
// when Redis did not answer: the id is the device's, and by now it may name another task, or the same one in another
// worker's hands. Only this process' run of that task is ended; for any other there is nothing left to do. So nothing of
// what asynq's recoverer does to other workers' runs gets through: recoverLost is there for that.
const finishGuard = `
local function ticket(message) return string.match(message or "", '"ticket":"(%w+)"') end
local mine
for _, argument in ipairs(ARGV) do mine = mine or ticket(argument) end
for _, key in ipairs(KEYS) do
	if string.find(key, "}:t:.") then
		local task = redis.call("HMGET", key, "state", "msg", "run")
		local others = task[3] and task[3] ~= ARGV[#ARGV] or mine and ticket(task[2]) ~= mine
		if others or (task[3] or mine) and task[1] ~= "active" then
			return redis.status_reply("OK")
		end
	end
end
`

// gate is a go-redis hook that sees every command of a worker's asynq servers. It
//   - puts guards around asynq's scripts, which it knows by the shape of their keys and whose text it asks for by
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

	process string // tells this process' runs from those of others

	mu      sync.Mutex
	scripts map[string]script    // by the digest of asynq's text
	guarded bool                 // a dequeue with the guard has run
	unsure  map[string]time.Time // when the end of a run had no answer, by task id; asynq repeats it until its lease ends
	retaken map[string]time.Time // until when such a repeat may come although the task is in work again

	statuses map[string]string // what the status keys of devices said whose tasks were handed out, by task id, until the handler has it
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
		process: rand.Text(), scripts: map[string]script{}, unsure: map[string]time.Time{}, retaken: map[string]time.Time{},
		statuses: map[string]string{},
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
		script, ok := cmd.(*redis.Cmd)
		if name := cmd.Name(); !ok || name != "evalsha" && name != "eval" {
			return next(ctx, cmd)
		}
		switch {
		case isDequeue(cmd.Args()):
			return g.dequeue(ctx, script, next)
		case isFinish(cmd.Args()):
			return g.finish(ctx, script, next)
		}
		return next(ctx, cmd)
	}
}

// finish ends a run.
func (g *gate) finish(ctx context.Context, cmd *redis.Cmd, next redis.ProcessHook) error {
	id := finished(cmd.Args())
	if errors.Is(ctx.Err(), context.Canceled) { // a repeat
		if g.isRetaken(id) {
			cmd.SetErr(nil)
			return nil
		}
		live, cancel := context.WithTimeout(context.WithoutCancel(ctx), rescueTimeout)
		defer cancel()
		ctx = live
	}
	_, err := g.run(ctx, guardFinish, cmd, next)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		delete(g.unsure, id)
	case !isNoScript(err):
		g.unsure[id] = time.Now()
	}
	return err
}

// taken says that a run of the task begins here: what asynq may still repeat of an earlier one must not end it. It returns what
// the device's status key said.
func (g *gate) taken(id string) (status string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	status = g.statuses[id]
	delete(g.statuses, id)
	const repeats = leaseDuration + rescueTimeout
	for other, at := range g.unsure {
		if time.Since(at) > repeats {
			delete(g.unsure, other)
		}
	}
	for other, until := range g.retaken {
		if time.Now().After(until) {
			delete(g.retaken, other)
		}
	}
	if _, ok := g.unsure[id]; ok {
		delete(g.unsure, id)
		g.retaken[id] = time.Now().Add(repeats)
	}
	return status
}

func (g *gate) isRetaken(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.retaken[id]
	return ok && time.Now().Before(until)
}

func (g *gate) dequeue(ctx context.Context, cmd *redis.Cmd, next redis.ProcessHook) error {
	site := siteOf(cmd.Args())
	late := time.NewTimer(slotWait)
	defer late.Stop()
	for {
		if g.hold() || g.proven() && g.share.empty(site) || !g.take(site, late.C) {
			return nothing(cmd)
		}
		answer, err := g.run(ctx, guardDequeue, cmd, next)
		wait, early := tooEarly(answer)
		if err == nil && !early {
			err = g.handOut(cmd, answer)
		}
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
func nothing(cmd *redis.Cmd) error {
	cmd.SetErr(redis.Nil)
	return redis.Nil
}

// tooEarly says whether the guard kept a task back for the site's rate, and for how long.
func tooEarly(answer any) (time.Duration, bool) {
	n, ok := answer.(int64)
	return time.Duration(n) * time.Microsecond, ok
}

// handOut gives asynq the message, and keeps the device's status for the handler.
func (g *gate) handOut(cmd *redis.Cmd, answer any) error {
	parts, ok := answer.([]any)
	if !ok || len(parts) != 3 {
		return fmt.Errorf("dequeue: an answer of another form: %T", answer)
	}
	cmd.SetVal(parts[0])
	if status, _ := parts[1].(string); status != "" {
		id, _ := parts[2].(string)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.statuses[id] = status
	}
	return nil
}

// run runs the script with its guard, and with this process' name as its last argument.
func (g *gate) run(ctx context.Context, guarded func(string) string, cmd *redis.Cmd, next redis.ProcessHook) (any, error) {
	args := append(slices.Clone(cmd.Args()), g.process)
	if !g.put(guarded, args) {
		cmd.SetErr(noScript{})
		return nil, noScript{}
	}
	instead := redis.NewCmd(ctx, args...)
	err := next(ctx, instead)
	cmd.SetVal(instead.Val())
	cmd.SetErr(err)
	return instead.Val(), err
}

// put swaps the script for the one with its guard; false while its text is not known yet.
func (g *gate) put(guarded func(string) string, args []any) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	of, _ := args[1].(string)
	if args[0] == "eval" {
		text := guarded(of)
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

// isFinish knows complete (keys active, lease, ...), retry and archive (keys t:<id>, active, lease, ...), and requeue (active,
// lease, pending, t:<id>).
func isFinish(args []any) bool {
	return hasKeys(args, 0, 0, "active", "lease") || hasKeys(args, 0, 1, "active", "lease") || hasKeys(args, 4, 0, "active", "lease", "pending")
}

// finished is the task id of a finish: the first argument of them all.
func finished(args []any) string {
	n, _ := args[2].(int)
	if len(args) <= 3+n {
		return ""
	}
	id, _ := args[3+n].(string)
	return id
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
