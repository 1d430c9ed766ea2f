package queue

import (
	"context"
	"errors"
	"strconv"
	"strings"

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
	pipe := c.redis.Pipeline()
	pipe.Set(ctx, keys{site}.limit(), encodeLimits(l), 0)
	pipe.SAdd(ctx, queuesKey, site)
	_, err := pipe.Exec(ctx)
	return c.fail("write site limits", err)
}

// ChangeLimits is SetLimits for a site that has limits: where Redis has lost them, it writes nothing.
func (c *Client) ChangeLimits(ctx context.Context, site string, l device.Limits) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	err := c.redis.SetArgs(ctx, keys{site}.limit(), encodeLimits(l), redis.SetArgs{Mode: "XX"}).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return c.fail("write site limits", err)
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
