package embedded_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/secret"
)

const waitTimeout = 20 * time.Second

func client(t *testing.T, address string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxRetries = -1
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eachKind runs f against every Redis that we offer.
func eachKind(t *testing.T, f func(t *testing.T, r *embedded.Redis)) {
	t.Run("mini", func(t *testing.T) {
		t.Parallel()
		f(t, embeddedtest.Start(t, embedded.RedisMini))
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		embeddedtest.RequireServer(t)
		f(t, embeddedtest.Start(t, embedded.RedisServer))
	})
}

func TestRedisServes(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, r *embedded.Redis) {
		c := client(t, r.URL().Reveal())
		if err := c.Set(t.Context(), "k", "v", time.Millisecond).Err(); err != nil {
			t.Fatal(err)
		}
		sum, err := c.Eval(t.Context(), "return redis.call('STRLEN', KEYS[1]) + 1", []string{"other"}).Int()
		if err != nil || sum != 1 {
			t.Errorf("script: got %d, %v", sum, err)
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(waitTimeout); c.Exists(t.Context(), "k").Val() != 0; <-tick.C {
			if time.Now().After(deadline) {
				t.Fatal("a key outlived its TTL")
			}
		}
	})
}

func TestRedisInfo(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, r *embedded.Redis) {
		if err := client(t, r.URL().Reveal()).Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		info, err := r.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := r.Kind() == embedded.RedisServer
		for _, field := range []string{"used_memory", "total_commands_processed", "cmdstat_set", "db0"} {
			if (info[field] != "") != want {
				t.Errorf("%s is %q", field, info[field])
			}
		}
		if want && !strings.HasPrefix(info["db0"], "keys=1,") {
			t.Errorf("db0 has %s", info["db0"])
		}
	})
}

func TestRedisDemandsToken(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, r *embedded.Redis) {
		u, err := url.Parse(r.URL().Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(u.Host, "127.0.0.1:") || u.Path != "/0" {
			t.Errorf("address: got %s%s, want 127.0.0.1:port/0", u.Host, u.Path)
		}
		for name, user := range map[string]*url.Userinfo{"wrong token": url.UserPassword("", "wrong"), "no token": nil} {
			other := *u
			other.User = user
			if err := client(t, other.String()).Ping(t.Context()).Err(); err == nil {
				t.Errorf("%s: the server answered", name)
			}
		}
	})
}

func TestRedisStop(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, r *embedded.Redis) {
		c := client(t, r.URL().Reveal())
		for range 2 {
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		if c.Ping(t.Context()).Err() == nil {
			t.Error("it still answers")
		}
		select {
		case <-r.Done():
			t.Error("Done tells of an end that was asked for")
		default:
		}
	})
}

func TestRedisOptions(t *testing.T) {
	t.Parallel()
	token := secret.New("secret-token")
	for name, tc := range map[string]struct {
		o    embedded.RedisOptions
		want string
	}{
		"no token":     {embedded.RedisOptions{Dir: t.TempDir(), Kind: embedded.RedisMini}, "token"},
		"unknown kind": {embedded.RedisOptions{Dir: t.TempDir(), Token: token, Kind: "valkey"}, `"valkey"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := embedded.StartRedis(t.Context(), tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// Without t.Parallel: the environment belongs to the whole process.
func TestRedisWithoutProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r, err := embedded.StartRedis(t.Context(), embedded.RedisOptions{Dir: t.TempDir(), Token: embeddedtest.Token()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if r.Kind() != embedded.RedisMini || r.PID() != 0 {
		t.Errorf("got %s with pid %d, want miniredis", r.Kind(), r.PID())
	}
	_, err = embedded.StartRedis(t.Context(), embedded.RedisOptions{
		Dir: t.TempDir(), Token: embeddedtest.Token(), Kind: embedded.RedisServer,
	})
	if err == nil || !strings.Contains(err.Error(), "redis-server") {
		t.Errorf("a demanded server: got %v", err)
	}
}

func TestEnvironmentChoosesRedis(t *testing.T) {
	for _, tc := range []struct {
		kind, require string
		want          embedded.RedisKind
	}{
		{"", "", ""},
		{"mini", "", embedded.RedisMini},
		{"server", "", embedded.RedisServer},
		{"", "1", embedded.RedisServer},
		{"auto", "1", embedded.RedisServer},
		{"mini", "1", embedded.RedisMini},
	} {
		t.Setenv("CONFHAUL_TEST_REDIS", tc.kind)
		t.Setenv("CONFHAUL_REQUIRE_REDIS", tc.require)
		if got := embeddedtest.Kind(t); got != tc.want {
			t.Errorf("%q, require %q: got %q, want %q", tc.kind, tc.require, got, tc.want)
		}
	}
}
