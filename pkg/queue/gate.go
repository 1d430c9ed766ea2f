package queue

import (
	"context"
	"crypto/sha1" // the name by which Redis knows a script
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// guard stands in front of asynq's dequeue script, in the same atomic script. The length of asynq's active list is the
// number of the queue's tasks in work over the whole fleet. A queue without a limit key hands out nothing: an emptied
// Redis must never mean unlimited.
const guard = `
local limit = tonumber(redis.call("GET", "confhaul:" .. string.match(KEYS[3], "{.*}") .. ":limit") or 0)
if limit >= 0 and redis.call("LLEN", KEYS[3]) >= limit then
	return nil
end
`

// slotWait is how long a full worker waits for a session to end before its server looks around again.
const slotWait = time.Second

// rescueTimeout bounds the repeated write of a finished task.
const rescueTimeout = 3 * time.Second

// gate is a go-redis hook that sees every command of a worker's asynq servers. It
//   - puts the guard before asynq's dequeue script, which it knows by the shape of its keys and whose text it asks for by
//     answering the first EVALSHA with NOSCRIPT, whereupon go-redis sends the text;
//   - takes a slot of this process before a dequeue, which the handler gives back, so that the number of sessions is
//     counted by us and not by asynq, which forgets handlers that outlive their deadline;
//   - gives a live context to the writes of finished tasks that asynq 0.25 and 0.26 repeat with a context they have
//     cancelled themselves (processor.go, defer cancel), so that a blip of Redis does not lose a result.
type gate struct {
	slots chan struct{} // holds one token per session in work
	hold  func() bool
	told  func(err error) // hears of every answer of Redis to a dequeue; nil: it answered

	mu      sync.Mutex
	source  string
	sha     string
	guarded bool // a dequeue with the guard has run
}

func newGate(sessions int, hold func() bool, told func(error)) *gate {
	if hold == nil {
		hold = func() bool { return false }
	}
	return &gate{slots: make(chan struct{}, sessions), hold: hold, told: told}
}

// release gives a slot back; each handler does so once.
func (g *gate) release() { <-g.slots }

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
		if isFinish(args) && errors.Is(ctx.Err(), context.Canceled) {
			live, cancel := context.WithTimeout(context.WithoutCancel(ctx), rescueTimeout)
			defer cancel()
			return next(live, cmd)
		}
		return next(ctx, cmd)
	}
}

func (g *gate) dequeue(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
	if !g.guardScript(cmd) {
		cmd.SetErr(noScript{})
		return noScript{}
	}
	if g.hold() {
		cmd.SetErr(redis.Nil)
		return redis.Nil
	}
	wait := time.NewTimer(slotWait)
	defer wait.Stop()
	select {
	case g.slots <- struct{}{}:
	case <-wait.C:
		cmd.SetErr(redis.Nil)
		return redis.Nil
	}
	err := next(ctx, cmd)
	if err != nil { // nothing was handed out, or nobody knows: then asynq's lease brings the task back
		g.release()
	}
	if err == nil || errors.Is(err, redis.Nil) {
		g.mu.Lock()
		g.guarded = true
		g.mu.Unlock()
		g.told(nil)
	} else if !isNoScript(err) {
		g.told(err)
	}
	return err
}

// guardScript swaps the guarded script in; false while its text is not known yet.
func (g *gate) guardScript(cmd redis.Cmder) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	args := cmd.Args()
	if text, ok := args[1].(string); ok && cmd.Name() == "eval" {
		if !strings.HasPrefix(text, guard) { // a repeated command comes with the guard already in it
			text = guard + text
		}
		if g.source != text {
			sum := sha1.Sum([]byte(text))
			g.source, g.sha = text, hex.EncodeToString(sum[:])
		}
		args[1] = g.source
		return true
	}
	if g.source == "" {
		return false
	}
	args[1] = g.sha
	return true
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
