package sshclient

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
)

// printing is a router that answers every command with text, in pieces as RouterOS writes them.
func printing(text []byte) *router {
	return &router{exec: func(_ string, s *serverSession) {
		_, _ = s.Write(text)
		s.exit(0)
	}}
}

func TestExecAppends(t *testing.T) {
	t.Parallel()
	text := filler(3 << 20) // more than the SSH window
	c := open(t, printing(text).start(t))
	out := []byte("first ")
	for range 2 {
		var err error
		if out, err = c.Exec(t.Context(), "/export", out, 0); err != nil {
			t.Fatal(err)
		}
	}
	if want := append([]byte("first "), bytes.Repeat(text, 2)...); !bytes.Equal(out, want) {
		t.Errorf("got %d bytes that differ from the %d that were sent", len(out), len(want))
	}
}

func TestExecCap(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	for _, tt := range []struct {
		size int
		kind fault.Kind
	}{{limit - 1, ""}, {limit, ""}, {limit + 1, fault.TooLarge}, {20 * limit, fault.TooLarge}} {
		for _, dst := range [][]byte{nil, make([]byte, 5, 1<<20)} {
			out, err := open(t, printing(filler(tt.size)).start(t)).Exec(t.Context(), "/export", dst, limit)
			wantFault(t, err, tt.kind)
			if got := len(out) - len(dst); err == nil && got != tt.size || got > limit+1 {
				t.Errorf("size %d: got %d bytes", tt.size, got)
			}
		}
	}
}

// TestExecGrows: buffers come from Target.Grow, the first one when there is something to put into it.
func TestExecGrows(t *testing.T) {
	t.Parallel()
	want := filler(500_000)
	target := printing(want).start(t)
	var sizes []int
	target.Grow = func(b []byte, limit int) ([]byte, error) {
		sizes = append(sizes, min(max(3*cap(b), 1000), limit))
		return append(make([]byte, 0, sizes[len(sizes)-1]), b...), nil
	}
	out, err := open(t, target).Exec(t.Context(), "/export", nil, 700_000)
	if err != nil || !bytes.Equal(out, want) || cap(out) != sizes[len(sizes)-1] || cap(out) > 700_001 {
		t.Errorf("%d bytes in a buffer of %d of %v; error %v", len(out), cap(out), sizes, err)
	}
	silent := printing(nil).start(t)
	silent.Grow = func([]byte, int) ([]byte, error) {
		t.Error("a buffer for no output")
		return nil, nil
	}
	if out, err := open(t, silent).Exec(t.Context(), "/export", nil, 0); err != nil || len(out) != 0 {
		t.Errorf("%d bytes, error %v", len(out), err)
	}

	target.Grow = func(b []byte, limit int) ([]byte, error) {
		if cap(b) >= 100_000 {
			return b, fault.New(fault.Infrastructure, "export", "no memory left")
		}
		return double(b, limit)
	}
	out, err = open(t, target).Exec(t.Context(), "/export", nil, 0)
	wantFault(t, err, fault.Infrastructure, "no memory left")
	if !bytes.HasPrefix(want, out) || len(out) < 100_000 {
		t.Errorf("%d bytes come back", len(out))
	}
}

func TestExecExitStatusProvesNothing(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*serverSession){
		"zero":    func(s *serverSession) { s.exit(0) },
		"nonzero": func(s *serverSession) { s.exit(7) },
		"missing": func(s *serverSession) { _ = s.Close() },
		"signal": func(s *serverSession) {
			_, _ = s.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Signal      string
				Core        bool
				Error, Lang string
			}{"KILL", false, "", ""}))
			_ = s.Close()
		},
		"zero, and the router hangs up": func(s *serverSession) {
			s.exit(0)
			_ = s.conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &router{exec: func(_ string, s *serverSession) {
				_, _ = s.Stderr().Write([]byte("noise"))
				_, _ = s.Write([]byte("text\r\n"))
				end(s)
			}}
			out, err := open(t, r.start(t)).Exec(t.Context(), "/export", nil, 0)
			if err != nil || string(out) != "text\r\n" {
				t.Errorf("output %q, error %v", out, err)
			}
		})
	}
}

func TestExecFaults(t *testing.T) {
	t.Parallel()
	const short = 300 * time.Millisecond
	tests := []struct {
		name   string
		router *router
		limits Timeouts
		kind   fault.Kind
		words  []string
	}{
		{name: "connection lost", kind: fault.Incomplete, words: []string{"export: connection lost after 1000 bytes"},
			router: &router{exec: func(_ string, s *serverSession) {
				_, _ = s.Write(filler(1000))
				_ = s.conn.Close()
			}}},
		{name: "connection lost after the end of output", kind: fault.Incomplete,
			router: &router{exec: func(_ string, s *serverSession) {
				_, _ = s.Write(filler(1000))
				_ = s.CloseWrite()
				_ = s.conn.Close()
			}}},
		{name: "connection lost before output", kind: fault.Incomplete,
			router: &router{exec: func(_ string, s *serverSession) { _ = s.conn.Close() }}},
		{name: "no first byte", kind: fault.Timeout, words: []string{"export: no first byte within 300ms"}, limits: Timeouts{FirstByte: short},
			router: &router{exec: func(_ string, s *serverSession) { <-s.done }}},
		{name: "no session", kind: fault.Timeout, words: []string{"export: no first byte within 300ms"}, limits: Timeouts{FirstByte: short},
			router: &router{channel: func(ssh.NewChannel) bool { return true }}},
		{name: "falls silent", kind: fault.Timeout, words: []string{"export: no further output within 300ms"}, limits: Timeouts{Idle: short},
			router: &router{exec: func(_ string, s *serverSession) {
				_, _ = s.Write(filler(1000))
				<-s.done
			}}},
		{name: "does not end the session", kind: fault.Timeout, words: []string{"export: no end of the session within 300ms"}, limits: Timeouts{Idle: short},
			router: &router{exec: func(_ string, s *serverSession) {
				_, _ = s.Write(filler(1000))
				_ = s.CloseWrite()
				<-s.done
			}}},
		{name: "endless error output", kind: fault.TooLarge, words: []string{"error output"},
			router: &router{exec: func(_ string, s *serverSession) {
				for {
					if _, err := s.Stderr().Write(filler(32 << 10)); err != nil {
						return
					}
				}
			}}},
		{name: "session prohibited", kind: fault.Permission, words: []string{"policy ssh", "not for you"},
			router: &router{channel: func(c ssh.NewChannel) bool { return c.Reject(ssh.Prohibited, "not for you") == nil }}},
		{name: "no session free", kind: fault.Unreachable, words: []string{"resource shortage"},
			router: &router{channel: func(c ssh.NewChannel) bool { return c.Reject(ssh.ResourceShortage, "busy") == nil }}},
		{name: "exec refused", kind: fault.Rejected, words: []string{"refuses to run commands"},
			router: &router{channel: refuseRequests}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := tt.router.start(t)
			target.Timeouts = tt.limits
			_, err := open(t, target).Exec(t.Context(), "/export", nil, 0)
			wantFault(t, err, tt.kind, tt.words...)
		})
	}
}

func refuseRequests(c ssh.NewChannel) bool {
	_, reqs, err := c.Accept()
	if err == nil {
		ssh.DiscardRequests(reqs)
	}
	return true
}

func TestExecCancelled(t *testing.T) {
	t.Parallel()
	stopping := errors.New("worker stops")
	for _, of := range []string{"the command", "the connection"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			r := &router{exec: func(_ string, s *serverSession) {
				_, _ = s.Write(filler(1000))
				cancel(stopping)
				<-s.done
			}}
			dialCtx, execCtx := t.Context(), t.Context()
			if of == "the command" {
				execCtx = ctx
			} else {
				dialCtx = ctx
			}
			c, err := Dial(dialCtx, r.start(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := time.Now()
			_, err = c.Exec(execCtx, "/export", nil, 0)
			if _, ours := errors.AsType[*fault.Error](err); ours || !errors.Is(err, stopping) || !strings.HasPrefix(err.Error(), "export: ") {
				t.Errorf("error = %v, want export: %v", err, stopping)
			}
			if took := time.Since(start); took > patience {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestCloseEndsExec(t *testing.T) {
	t.Parallel()
	running := make(chan struct{})
	c := open(t, (&router{exec: func(_ string, s *serverSession) {
		close(running)
		<-s.done
	}}).start(t))
	got := make(chan error, 1)
	go func() {
		_, err := c.Exec(t.Context(), "/export", nil, 0)
		got <- err
	}()
	<-running
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-got:
		if err == nil {
			t.Error("a command on a closed connection succeeded")
		}
	case <-time.After(patience):
		t.Error("the command outlived its connection")
	}
}
