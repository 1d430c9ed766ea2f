package embeddedtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
)

// TestSentinel has Sentinel promote an empty replica.
func TestSentinel(t *testing.T) {
	t.Parallel()
	s := embeddedtest.StartSentinel(t)
	at, err := s.URL.Sentinel()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	c := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: at.Master, SentinelAddrs: at.Addresses, Password: at.Password.Reveal(), SentinelPassword: at.SentinelPassword.Reveal(),
	})
	defer func() { _ = c.Close() }()
	if err := c.Set(ctx, "before", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.LoseReplica(t)
	s.KillMaster(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for c.Set(ctx, "after", 1, 0).Err() != nil {
		select {
		case <-ctx.Done():
			t.Fatal("the replica was not promoted")
		case <-tick.C:
		}
	}
	if n, err := c.Exists(ctx, "before").Result(); err != nil || n != 0 {
		t.Errorf("the promoted replica is not empty: %d %v", n, err)
	}
}
