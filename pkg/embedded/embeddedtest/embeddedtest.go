// Package embeddedtest gives tests a Redis and a NATS of their own, which end with the test.
package embeddedtest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	// kindVariable chooses the Redis of every test: mini, server or auto.
	kindVariable = "CONFHAUL_TEST_REDIS"
	// requireVariable set to 1 makes a missing redis-server a failure instead of a reason for miniredis.
	requireVariable = "CONFHAUL_REQUIRE_REDIS"
)

// Token makes a random token.
func Token() secret.Text { return embedded.NewToken() }

// Redis starts an empty Redis of its own for this test and returns its address with the token. It is a redis-server where
// one is on PATH and miniredis otherwise; CONFHAUL_TEST_REDIS=mini or server chooses, and CONFHAUL_REQUIRE_REDIS=1 fails
// the test where redis-server is missing and miniredis was not chosen.
func Redis(tb testing.TB) secret.URL {
	tb.Helper()
	return Start(tb, Kind(tb)).URL()
}

// Kind is what the environment asks for: RedisMini, RedisServer or RedisAuto.
func Kind(tb testing.TB) embedded.RedisKind {
	tb.Helper()
	kind := embedded.RedisKind(os.Getenv(kindVariable))
	if os.Getenv(requireVariable) == "1" && kind != embedded.RedisMini {
		return embedded.RedisServer
	}
	return kind
}

// Start starts an empty Redis of a given kind, for tests that end it themselves.
func Start(tb testing.TB, kind embedded.RedisKind) *embedded.Redis {
	tb.Helper()
	return start(tb, embedded.RedisOptions{Dir: tb.TempDir(), Token: Token(), Kind: kind})
}

func start(tb testing.TB, o embedded.RedisOptions) *embedded.Redis {
	tb.Helper()
	r, err := embedded.StartRedis(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		select {
		case <-r.Done():
			return // the test ended it in its own way
		default:
		}
		if err := r.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// RequireServer skips the test where redis-server is not on PATH, and fails it there under CONFHAUL_REQUIRE_REDIS=1.
func RequireServer(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv(requireVariable) == "1" {
		tb.Fatalf("redis-server is not on PATH and %s=1 is set", requireVariable)
	}
	tb.Skip("redis-server is not on PATH")
}

// NATS starts a server for this test. Fields of o that are empty are filled: Dir with the test's own, Token with a
// random one.
func NATS(tb testing.TB, o embedded.NATSOptions) *embedded.NATS {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	if o.Token.Empty() {
		o.Token = Token()
	}
	n, err := embedded.StartNATS(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return n
}
