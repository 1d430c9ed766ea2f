//go:build unix

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/secret"
)

// program is the path of redis-server. A missing one skips the test, or fails it under CONFHAUL_REQUIRE_REDIS=1.
func program(t *testing.T) string {
	t.Helper()
	p, err := exec.LookPath(redisProgram)
	if err == nil {
		return p
	}
	if os.Getenv("CONFHAUL_REQUIRE_REDIS") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

func startTestServer(t *testing.T, log *slog.Logger) *Redis {
	t.Helper()
	r, err := startServer(t.Context(), RedisOptions{Dir: t.TempDir(), Token: NewToken(), Log: orDiscard(log)}, program(t), freePort)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServerSettings(t *testing.T) {
	t.Parallel()
	token := secret.New(`a "quoted" token \ with 'all' # sorts of ü bytes`)
	dir := filepath.Join(t.TempDir(), `a "dir"`)
	r, err := startServer(t.Context(), RedisOptions{Dir: dir, Token: token, Log: orDiscard(nil)}, program(t), freePort)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	o, err := redis.ParseURL(r.URL().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	for name, want := range map[string]string{
		"bind": "127.0.0.1", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction", "dir": dir, "requirepass": token.Reveal(),
	} {
		got, err := c.ConfigGet(t.Context(), name).Result()
		if err != nil || got[name] != want {
			t.Errorf("%s: got %q, %v, want %q", name, got[name], err, want)
		}
	}
	args, err := exec.Command("ps", "-ww", "-o", "args=", "-p", fmt.Sprint(r.PID())).Output()
	if err != nil {
		t.Skipf("no list of processes: %v", err)
	}
	if strings.Contains(string(args), "token") {
		t.Errorf("the list of processes shows the token: %s", args)
	}
}

func TestServerDeathIsTold(t *testing.T) {
	t.Parallel()
	r := startTestServer(t, nil)
	if err := syscall.Kill(r.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, r.Done(), "Done after the child was killed")
	if err := r.Stop(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("Stop: got %v", err)
	}
}

func TestServerThatDoesNotStop(t *testing.T) {
	t.Parallel()
	r := startTestServer(t, nil)
	if err := syscall.Kill(r.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err := r.child.stop(10 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("got %v", err)
	}
	await(t, r.child.ended, "the end of the child")
	r.watch.Wait()
}

func TestServerLosesItsPort(t *testing.T) {
	t.Parallel()
	p := program(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tc := range map[string]struct {
		lost int // times in a row
		ok   bool
	}{"twice": {2, true}, "always": {redisStarts, false}} {
		t.Run(name, func(t *testing.T) {
			picks := 0
			pick := func() (int, error) {
				if picks++; picks <= tc.lost {
					return taken.Addr().(*net.TCPAddr).Port, nil
				}
				return freePort()
			}
			r, err := startServer(t.Context(), RedisOptions{Dir: t.TempDir(), Token: NewToken(), Log: orDiscard(nil)}, p, pick)
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Stop(); err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, errPortLost) || picks != redisStarts {
				t.Errorf("after %d ports: got %v", picks, err)
			}
		})
	}
}

// fakeServer is a program that says something and ends.
func fakeServer(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fake")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServerThatRefusesItsSettings(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	token := NewToken()
	p := fakeServer(t, `cat >/dev/null; echo "at line 3"; echo ">>> 'requirepass `+token.Reveal()+`'"; echo "bad directive"; exit 1`)
	o := RedisOptions{Dir: t.TempDir(), Token: token, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	_, err := startServer(t.Context(), o, p, freePort)
	if err == nil || !strings.Contains(err.Error(), "bad directive") {
		t.Fatalf("got %v", err)
	}
	if text := err.Error() + log.String(); strings.Contains(text, token.Reveal()) {
		t.Errorf("the token shows: %s", text)
	}
}

func TestServerStartIsCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	pick := func() (int, error) { cancel(); return freePort() }
	o := RedisOptions{Dir: t.TempDir(), Token: NewToken(), Log: orDiscard(nil)}
	if _, err := startServer(ctx, o, fakeServer(t, "exec cat"), pick); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestServerDiesWithParent(t *testing.T) {
	t.Parallel()
	program(t)
	if !diesWithParent {
		t.Skip("this system has no signal for the death of a parent")
	}
	parent, line := startHelper(t, "redis", t.TempDir())
	var pid int
	var address string
	if _, err := fmt.Sscan(line, &pid, &address); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed, and says so

	// The kernel closes the connection when the child is gone, and the child itself never does so early.
	if err := conn.SetReadDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Fatalf("redis-server %d outlived its parent", pid)
	}
}

func TestParseLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		warning bool
		text    string
	}{
		"123:M 17 Oct 2026 10:00:00.123 # Server initialized badly":    {true, "Server initialized badly"},
		"123:M 17 Oct 2026 10:00:00.123 * Ready to accept connections": {false, "Ready to accept connections"},
		"Bad directive or wrong number of arguments":                   {true, "Bad directive or wrong number of arguments"},
		"": {false, ""},
	} {
		if warning, text := parseLine(line); warning != want.warning || text != want.text {
			t.Errorf("%q: got %v %q", line, warning, text)
		}
	}
}
