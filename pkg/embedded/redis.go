package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os/exec"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/confhaul/confhaul/pkg/secret"
)

// RedisKind says which Redis runs.
type RedisKind string

// The kinds.
const (
	RedisAuto   RedisKind = "auto"   // a redis-server child where one is on PATH, miniredis otherwise
	RedisServer RedisKind = "server" // a redis-server child
	RedisMini   RedisKind = "mini"   // miniredis in this process: for up to about 5,000 outstanding tasks
)

const (
	redisProgram = "redis-server"
	redisStarts  = 3 // how often a start that lost its port to somebody else is tried

	redisStopGrace = 5 * time.Second // end asked for to end forced
)

// RedisOptions says how to start a Redis.
type RedisOptions struct {
	Dir   string       // the child's working directory, made where it is missing; nothing is stored in it
	Token secret.Text  // the password it demands; needed
	Kind  RedisKind    // "" is RedisAuto
	Log   *slog.Logger // nil: no log
}

// Redis is a running server that keeps everything in memory and nothing after its end.
type Redis struct {
	url   secret.URL
	port  int                  // of a child
	token secret.Text          // of a child
	child *child               // nil for miniredis
	mini  *miniredis.Miniredis // nil for a child
	done  chan struct{}
	watch sync.WaitGroup

	stopOnce sync.Once
	stopErr  error
}

// StartRedis starts a Redis and returns once it answers. Cancelling ctx ends the start, not the server: Stop does.
// A child also dies with this process, on Linux even where that is killed with SIGKILL.
// The error wraps exec.ErrNotFound where a server was demanded and none is on PATH.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	o.Log = orDiscard(o.Log)
	if o.Token.Empty() {
		return nil, fmt.Errorf("start redis: %w", errNoToken)
	}
	program, kind, err := chooseRedis(o.Kind)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	if kind == RedisMini {
		return startMini(o)
	}
	return startServer(ctx, o, program, freePort)
}

// chooseRedis turns a wish into RedisMini or RedisServer with the path of its program.
func chooseRedis(wish RedisKind) (program string, kind RedisKind, err error) {
	switch wish {
	case RedisMini:
		return "", RedisMini, nil
	case RedisServer, RedisAuto, "":
	default:
		return "", "", fmt.Errorf("%q is no kind of redis: use %s, %s or %s", wish, RedisAuto, RedisServer, RedisMini)
	}
	program, err = exec.LookPath(redisProgram)
	if err == nil {
		return program, RedisServer, nil
	}
	if wish != RedisServer && errors.Is(err, exec.ErrNotFound) {
		return "", RedisMini, nil
	}
	return "", "", err
}

func startMini(o RedisOptions) (*Redis, error) {
	m := miniredis.NewMiniRedis()
	m.RequireAuth(o.Token.Reveal())
	if err := m.StartAddr(loopback + ":0"); err != nil {
		return nil, fmt.Errorf("start miniredis: %w", err)
	}
	m.ClockTTL(true)
	return &Redis{url: redisURL(m.Addr(), o.Token), mini: m, done: make(chan struct{})}, nil
}

func redisURL(addr string, token secret.Text) secret.URL {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", token.Reveal()), Host: addr, Path: "/0"}
	return secret.NewURL(u.String())
}

// URL is the address, redis://:token@127.0.0.1:port/0.
func (r *Redis) URL() secret.URL { return r.url }

// Kind is RedisServer or RedisMini.
func (r *Redis) Kind() RedisKind {
	if r.child == nil {
		return RedisMini
	}
	return RedisServer
}

// PID is the child's process id, 0 for miniredis.
func (r *Redis) PID() int {
	if r.child == nil {
		return 0
	}
	return r.child.pid
}

// Done is closed when the child ends without Stop; for miniredis never. What it said last is in the log.
func (r *Redis) Done() <-chan struct{} { return r.done }

// Stop ends the server and waits for its end, 5 s at most before it is killed. Further calls return what the first did.
func (r *Redis) Stop() error {
	r.stopOnce.Do(func() {
		if r.mini != nil {
			r.mini.Close()
			return
		}
		if err := r.child.stop(redisStopGrace); err != nil {
			r.stopErr = fmt.Errorf("stop redis: %w", err)
		}
		r.watch.Wait()
	})
	return r.stopErr
}
