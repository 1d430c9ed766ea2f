package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

var errPortLost = errors.New("another process took the port")

// startServer starts a child on a port from pick, and again on another where somebody else was faster.
func startServer(ctx context.Context, o RedisOptions, program string, pick func() (int, error)) (*Redis, error) {
	dir, err := makeDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	for range redisStarts {
		var r *Redis
		if r, err = startOnce(ctx, o, program, dir, pick); err == nil {
			return r, nil
		}
		if !errors.Is(err, errPortLost) {
			break
		}
	}
	return nil, fmt.Errorf("start redis-server: %w", err)
}

func startOnce(ctx context.Context, o RedisOptions, program, dir string, pick func() (int, error)) (*Redis, error) {
	port, err := pick()
	if err != nil {
		return nil, err
	}
	r := &Redis{
		url: redisURL(net.JoinHostPort(loopback, strconv.Itoa(port)), o.Token), port: port, token: o.Token, done: make(chan struct{}),
	}
	if r.child, err = startChild(program, redisSettings(port, dir, o), o.Log); err != nil {
		return nil, err
	}
	err = waitReady(ctx, port, o.Token, r.child.ended)
	if err == nil {
		r.watch.Go(func() { r.watchChild(o.Log) })
		return r, nil
	}
	said := r.child.abandon()
	if errors.Is(err, errEnded) && strings.Contains(said, "Address already in use") {
		return nil, fmt.Errorf("port %d: %w", port, errPortLost)
	}
	if said != "" {
		err = fmt.Errorf("%w; it said last: %s", err, said)
	}
	return nil, err
}

// watchChild tells when the child ends without Stop.
func (r *Redis) watchChild(log *slog.Logger) {
	<-r.child.ended
	if r.child.leaving.Load() {
		return
	}
	log.Error("redis-server ended by itself", "pid", r.child.pid, "err", r.child.waitErr, "last", r.child.lastLines())
	close(r.done)
}

// redisSettings is what the child reads on its standard input, where no list of processes shows the token.
func redisSettings(port int, dir string, o RedisOptions) string {
	return strings.Join([]string{
		"bind " + loopback,
		"port " + strconv.Itoa(port),
		"requirepass " + quote(o.Token.Reveal()),
		"dir " + quote(dir),
		`save ""`,
		"appendonly no",
		"maxmemory-policy noeviction", // an evicted task would be a queue in disorder
		"daemonize no",
		`logfile ""`,
		"",
	}, "\n")
}

// quote writes every byte as \xHH between quotes, so that no byte of a path or token can be read as syntax.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// freePort finds a port that nobody listens on. Somebody may by the time it is used.
func freePort() (int, error) {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return port, nil
}

func makeDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("a directory is needed")
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find directory %s: %w", dir, err)
	}
	return abs, nil
}
