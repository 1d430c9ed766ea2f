package queue

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

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
