package queue

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/device"
)

// Limits reads what stands in Redis for each site; a site whose key is missing, or holds no limits, is not in the answer.
func (c *Client) Limits(ctx context.Context, sites []string) (map[string]device.Limits, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	pipe := c.redis.Pipeline()
	got := make(map[string]*redis.StringCmd, len(sites))
	for _, s := range sites {
		got[s] = pipe.Get(ctx, keys{s}.limit())
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, c.fail("read site limits", err)
	}
	out := make(map[string]device.Limits, len(sites))
	for s, g := range got {
		if l, ok := decodeLimits(g.Val()); ok {
			out[s] = l
		}
	}
	return out, nil
}

// SetLimits writes what the guard holds a site to over the whole fleet, and the site's name where the dashboard looks for
// queues: asynq writes that once per process, so an emptied Redis would not get it back. Both limits stand in one key, so
// that Redis cannot lose one of them.
func (c *Client) SetLimits(ctx context.Context, site string, l device.Limits) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	pipe := c.redis.TxPipeline()
	pipe.Set(ctx, keys{site}.limit(), encodeLimits(l), 0)
	pipe.Del(ctx, keys{site}.lost())
	pipe.SAdd(ctx, queuesKey, site)
	_, err := pipe.Exec(ctx)
	return c.fail("write site limits", err)
}

// restoreLimits writes limits where some stand, or where it has been known for long enough that they are lost: in one step,
// because whoever looked may have stood still since. KEYS: limits, what LostFor remembers, asynq:queues. ARGV: limits, wait in
// milliseconds, queue.
var restoreLimits = redis.NewScript(`
local known = tonumber(string.match(redis.call("GET", KEYS[2]) or "", "^(%d+) ") or "-1")
if redis.call("EXISTS", KEYS[1]) == 0 and known < tonumber(ARGV[2]) then
	return 0
end
redis.call("SET", KEYS[1], ARGV[1])
redis.call("DEL", KEYS[2])
redis.call("SADD", KEYS[3], ARGV[3])
return 1`)

// RestoreLimits is SetLimits for a site that had limits before: where Redis has lost them, it writes nothing before LostFor
// has reached wait.
func (c *Client) RestoreLimits(ctx context.Context, site string, l device.Limits, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	k := keys{site}
	err := restoreLimits.Run(ctx, c.redis, []string{k.limit(), k.lost(), queuesKey}, encodeLimits(l), wait.Milliseconds(), site).Err()
	return c.fail("write site limits", err)
}

const (
	// lostTTL is how long Redis remembers that a site's limits were missed, in case no scheduler writes them.
	lostTTL = 10 * time.Minute
	// lostStep is how much of the time between two looks counts: schedulers look every 2 s, and while Redis hangs nobody
	// notices anything.
	lostStep = 3 * time.Second
)

// noteLost answers for how many milliseconds it has been known that the site's limits are lost: 0 is the first to notice,
// -1 where they are there. KEYS: what it remembers, the limits. ARGV: lostTTL, lostStep in milliseconds.
const noteLost = `
if redis.call("EXISTS", KEYS[2]) == 1 then
	return -1
end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known, last = string.match(redis.call("GET", KEYS[1]) or "", "^(%d+) (%d+)$")
if known then
	known = math.max(known + math.max(math.min(now - last, tonumber(ARGV[2])), 0), 1)
else
	known = 0
end
redis.call("SET", KEYS[1], string.format("%.0f %.0f", known, now), "PX", ARGV[1])
return known`

// LostFor says for how long it has been known that Redis lost the limits of each of the sites, as far as Redis answered in
// that time: 0 for what nobody has noticed before, and nothing of a site whose limits are there. Redis itself remembers it:
// whoever empties it once more makes it forget, for all replicas at once, and a replica that stood still or has just started
// knows no less than the others.
func (c *Client) LostFor(ctx context.Context, sites []string) (map[string]time.Duration, error) {
	if len(sites) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	pipe := c.redis.Pipeline()
	got := make(map[string]*redis.Cmd, len(sites))
	for _, s := range sites {
		got[s] = pipe.Eval(ctx, noteLost, []string{keys{s}.lost(), keys{s}.limit()}, lostTTL.Milliseconds(), lostStep.Milliseconds())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, c.fail("note lost limits", err)
	}
	out := make(map[string]time.Duration, len(sites))
	for s, g := range got {
		ms, err := g.Int64()
		if err != nil {
			return nil, c.fail("note lost limits", err)
		}
		if ms >= 0 {
			out[s] = time.Duration(ms) * time.Millisecond
		}
	}
	return out, nil
}

// encodeLimits is "SESSIONS" or "SESSIONS RATE", as the guard reads them. Without a rate it is what workers know that
// know no rates; with one, they take nothing.
func encodeLimits(l device.Limits) string {
	if l.Rate == 0 {
		return strconv.Itoa(l.Sessions)
	}
	return strconv.Itoa(l.Sessions) + " " + strconv.FormatFloat(l.Rate, 'g', -1, 64)
}

func decodeLimits(text string) (device.Limits, bool) {
	sessions, rate, rated := strings.Cut(text, " ")
	n, err := strconv.Atoi(sessions)
	l := device.Limits{Sessions: n}
	if err == nil && rated {
		l.Rate, err = strconv.ParseFloat(rate, 64)
	}
	return l, err == nil
}
