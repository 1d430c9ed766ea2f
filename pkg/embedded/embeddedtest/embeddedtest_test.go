package embeddedtest_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
)

func TestRedisIsOnesOwn(t *testing.T) {
	t.Parallel()
	var sizes []int64
	for range 2 {
		o, err := redis.ParseURL(embeddedtest.Redis(t).Reveal())
		if err != nil {
			t.Fatal(err)
		}
		c := redis.NewClient(o)
		defer c.Close()
		n, err := c.DBSize(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, n)
		if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if sizes[0] != 0 || sizes[1] != 0 {
		t.Errorf("keys at start: got %v", sizes)
	}
}

func TestNATS(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}
