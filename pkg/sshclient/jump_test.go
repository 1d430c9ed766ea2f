package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/sshclient/sshtest"
)

func TestJumpsCut(t *testing.T) {
	t.Parallel()
	outer, outerTarget := at(t, sshtest.SSHD, sshtest.Options{})
	_, innerTarget := at(t, sshtest.SSHD, sshtest.Options{})
	hops := []Hop{trusting("outer", outerTarget), trusting("inner", innerTarget)}
	for n := 1; n <= 2; n++ {
		j := jumps(t)
		const sessions = 5
		before := outer.Connections()
		running := make(chan struct{}, sessions)
		var stop atomic.Bool
		behind := (&router{exec: func(_ string, s *serverSession) {
			_, _ = s.Write(filler(1000))
			if stop.Load() {
				s.exit(0)
				return
			}
			running <- struct{}{}
			<-s.done
		}}).start(t)
		behind.Dial = j.Dialer(hops[:n])
		failed := make(chan error, sessions)
		for range sessions {
			go func() {
				_, err := export(t.Context(), behind)
				failed <- err
			}()
		}
		for range sessions {
			<-running
		}
		outer.Cut()
		for range sessions {
			select {
			case err := <-failed:
				wantFault(t, err, fault.Incomplete, "export: connection lost after ", "connection to jump host "+hops[n-1].Name+" lost")
			case <-time.After(patience):
				t.Fatal("a session outlived its jump host")
			}
		}
		eventually(t, "the cut connections are dropped", func() bool { n, _ := pooled(j); return n == 0 })
		stop.Store(true)
		if out, err := export(t.Context(), behind); err != nil || len(out) != 1000 {
			t.Fatalf("the session after the cut: %d bytes, error %v", len(out), err)
		}
		if got := outer.Connections() - before; got != 2 {
			t.Errorf("%d connections, want 2", got)
		}
	}
}

// TestJumpsDeadConnection has sessions come before anybody noticed that the connection is dead.
func TestJumpsDeadConnection(t *testing.T) {
	t.Parallel()
	host, target := at(t, sshtest.SSHD, sshtest.Options{})
	behind := (&router{}).start(t)
	j := jumps(t)
	behind.Dial = j.Dialer([]Hop{trusting("jump", target)})
	for n := range 10 {
		if _, err := export(t.Context(), behind); err != nil || host.Connections() != n+1 {
			t.Fatalf("%d connections after %d losses, error %v", host.Connections(), n, err)
		}
		j.mu.Lock()
		for _, c := range j.pool {
			_ = c.conn.sock.Close()
		}
		j.mu.Unlock()
	}
}

func TestJumpsSingleFlight(t *testing.T) {
	t.Parallel()
	const sessions = 20
	var logins atomic.Int32
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	behind := (&router{}).start(t)
	r := &router{channel: forward}
	r.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
		logins.Add(1)
		asked <- struct{}{}
		<-answer
		return nil, nil
	}
	j := jumps(t)
	behind.Dial = j.Dialer([]Hop{trusting("jump", r.start(t))})

	impatient, give := context.WithCancelCause(t.Context())
	left := errors.New("task withdrawn")
	first := make(chan error, 1)
	go func() {
		_, err := export(impatient, behind)
		first <- err
	}()
	<-asked
	got := make(chan error, sessions)
	for range sessions {
		go func() {
			_, err := export(t.Context(), behind)
			got <- err
		}()
	}
	eventually(t, "all wait", func() bool { _, uses := pooled(j); return uses == sessions+1 })
	give(left)
	if err := <-first; !errors.Is(err, left) || !strings.HasPrefix(err.Error(), "dial: ") {
		t.Errorf("the impatient one: %v", err)
	}
	close(answer)
	for range sessions {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	if n := logins.Load(); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// forward is a jump host's part of a router.
func forward(nc ssh.NewChannel) bool {
	if nc.ChannelType() != "direct-tcpip" {
		return false
	}
	var to struct {
		Host       string
		Port       uint32
		Originator string
		From       uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		return nc.Reject(ssh.ConnectionFailed, err.Error()) == nil
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		return nc.Reject(ssh.ConnectionFailed, err.Error()) == nil
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		_ = conn.Close()
		return true
	}
	go ssh.DiscardRequests(requests)
	go pipe(conn, channelConn{ch, conn})
	return true
}

// channelConn gives a channel the type of the other side of pipe.
type channelConn struct {
	ssh.Channel
	net.Conn
}

func (c channelConn) Read(p []byte) (int, error)  { return c.Channel.Read(p) }
func (c channelConn) Write(p []byte) (int, error) { return c.Channel.Write(p) }
func (c channelConn) Close() error                { return c.Channel.Close() }

func TestJumpsIdle(t *testing.T) {
	t.Parallel()
	host, target := at(t, sshtest.SSHD, sshtest.Options{})
	behind := (&router{}).start(t)
	j := jumps(t)
	j.idle = 10 * time.Millisecond
	behind.Dial = j.Dialer([]Hop{trusting("jump", target)})
	c := open(t, behind)
	if _, err := export(t.Context(), behind); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*j.idle, func() { _ = c.Close() })
	if _, err := c.Exec(t.Context(), "/export", nil, 0); err != nil {
		t.Fatal(err)
	}
	<-c.done
	_ = c.Close()
	eventually(t, "the idle connection is closed", func() bool { n, _ := pooled(j); return n == 0 })
	if got := host.Connections(); got != 1 {
		t.Errorf("%d connections: one in use was closed", got)
	}
	if _, err := export(t.Context(), behind); err != nil || host.Connections() != 2 {
		t.Errorf("%d connections, error %v", host.Connections(), err)
	}
}

func TestJumpsAlive(t *testing.T) {
	t.Parallel()
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		for _, tt := range servers {
			host, target := at(t, tt.start, sshtest.Options{})
			c := open(t, target)
			for range 3 {
				if err := c.alive(patience); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
			if out, err := c.Exec(t.Context(), "echo whole", nil, 0); err != nil || string(out) != "whole\n" || host.Connections() != 1 {
				t.Errorf("%s: output %q, error %v", tt.name, out, err)
			}
		}
	})
	t.Run("falls silent", func(t *testing.T) {
		t.Parallel()
		j := jumps(t)
		j.aliveInterval, j.aliveTimeout = 10*time.Millisecond, 50*time.Millisecond
		r := &router{mute: true, channel: forward}
		behind := (&router{exec: func(_ string, s *serverSession) { <-s.done }}).start(t)
		behind.Dial = j.Dialer([]Hop{trusting("jump", r.start(t))})
		_, err := export(t.Context(), behind)
		if fault.KindOf(err) == fault.Timeout || err == nil {
			t.Errorf("error = %v, want the loss of the jump host", err)
		}
		if !strings.Contains(err.Error(), "jump host jump lost") {
			t.Errorf("error = %v", err)
		}
		eventually(t, "the dead connection is dropped", func() bool { n, _ := pooled(j); return n == 0 })
	})
}

func TestJumpsLinger(t *testing.T) {
	t.Parallel()
	j := jumps(t)
	j.lingerMax = 2
	var logins atomic.Int32
	r := &router{channel: func(ssh.NewChannel) bool { return true }} // never answers
	r.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
		logins.Add(1)
		return nil, nil
	}
	target := r.start(t)
	target.Timeouts.Dial = 20 * time.Millisecond
	dial := j.Dialer([]Hop{trusting("jump", target)})
	for range 6 {
		_, err := dial(t.Context(), "10.0.0.1:22")
		wantFault(t, err, fault.Timeout, "dial: 10.0.0.1:22: no answer within 20ms")
	}
	if n := logins.Load(); n != 2 {
		t.Errorf("%d connections for 6 lost channels at 3 each, want 2", n)
	}
}

// TestJumpsLateChannel has the jump host open a channel that nobody waits for any more.
func TestJumpsLateChannel(t *testing.T) {
	t.Parallel()
	late, ended := make(chan struct{}), make(chan struct{})
	target := (&router{channel: func(nc ssh.NewChannel) bool {
		<-late
		_, requests, err := nc.Accept()
		if err == nil {
			ssh.DiscardRequests(requests)
			close(ended)
		}
		return true
	}}).start(t)
	target.Timeouts.Dial = 20 * time.Millisecond
	_, err := jumps(t).Dialer([]Hop{trusting("jump", target)})(t.Context(), "10.0.0.1:22")
	wantFault(t, err, fault.Timeout, "no answer within 20ms")
	close(late)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the late channel stays open")
	}
}

func TestJumpsClose(t *testing.T) {
	t.Parallel()
	_, target := at(t, sshtest.SSHD, sshtest.Options{})
	running := make(chan struct{})
	behind := (&router{exec: func(_ string, s *serverSession) {
		close(running)
		<-s.done
	}}).start(t)
	j := NewJumps()
	behind.Dial = j.Dialer([]Hop{trusting("jump", target)})
	got := make(chan error, 1)
	go func() {
		_, err := export(t.Context(), behind)
		got <- err
	}()
	<-running
	j.Close()
	select {
	case err := <-got:
		wantFault(t, err, fault.Incomplete, "jump host jump lost")
	case <-time.After(patience):
		t.Fatal("a session outlived Close")
	}
	if _, err := export(t.Context(), behind); !errors.Is(err, errJumpsClosed) || fault.KindOf(err) != fault.Internal {
		t.Errorf("after Close: %v", err)
	}
	j.Close()
}
