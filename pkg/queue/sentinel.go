package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/secret"
)

// openSentinel is open for a Redis behind Sentinel. The client asks a Sentinel for the master before each new connection,
// drops its connections when it hears of another master, and each that answers READONLY (go-redis sentinel.go, error.go):
// it needs nothing else from us, as a master without our keys is an emptied Redis. It opens no TLS connections.
func openSentinel(url secret.URL, sessions int) (*redis.Client, error) {
	s, err := url.Sentinel()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: s.Master, SentinelAddrs: s.Addresses, SentinelPassword: s.SentinelPassword.Reveal(),
		Username: s.User, Password: s.Password.Reveal(), DB: s.DB,
		MaxRetries: -1, ContextTimeoutEnabled: true, PoolSize: poolSize(sessions),
	}), nil // it never asks for maintenance notifications (FailoverOptions.clientOptions)
}

// probeKey is written to see whether Redis takes writes, and lives for probeTTL.
const (
	probeKey = "confhaul:probe"
	probeTTL = time.Minute
)

// tryWrite writes what a Redis refuses that is full (OOM), a replica (READONLY), cannot save (MISCONF) or has too few
// replicas (NOREPLICAS).
func tryWrite(ctx context.Context, rc redis.Cmdable) error {
	return rc.Set(ctx, probeKey, 1, probeTTL).Err()
}
