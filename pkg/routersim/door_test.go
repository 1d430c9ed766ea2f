package routersim

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func wait(t *testing.T, f *Fleet, enough func([]Session) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := f.WaitSessions(ctx, enough); err != nil {
		t.Fatalf("%v: %+v", err, f.Sessions())
	}
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Versions: []string{"7.20.2"}})
	r := f.Routers()[0]
	r.SetMaxSessions(2)
	first, err := dial(t, r, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, r, password(testPassword)); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, r, password(testPassword)); err == nil {
		t.Error("a third session was let in")
	}
	_ = first.Close()
	wait(t, f, func(s []Session) bool { return len(s) == 3 && !s[0].Open && !s[2].Open && s[2].Login == LoginNone })
	if _, err := dial(t, r, password(testPassword)); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	r.SetMaxSessions(0)
	for n := 2; n < maxSessionsDefault; n++ {
		conn, err := net.DialTimeout("tcp", endpoint(r), testTimeout)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	wait(t, f, func(s []Session) bool { return len(s) == 2+maxSessionsDefault && s[len(s)-1].Open })
	if _, err := dial(t, r, password(testPassword)); err == nil {
		t.Error("21 sessions were let in")
	}
}

func TestBan(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Versions: []string{"7.20.2"}})
	r := f.Routers()[0]
	r.SetBan(true)
	for n := 1; n <= 6; n++ {
		if _, err := dial(t, r, password(testPassword)); (err == nil) != (n < 4) {
			t.Errorf("connection %d: %v", n, err)
		}
	}
	wait(t, f, func(s []Session) bool { return len(s) == 6 && !s[2].Banned && s[3].Banned && s[5].Banned && !s[5].Open })
	r.SetBan(false)
	if _, err := dial(t, r, password(testPassword)); err != nil {
		t.Errorf("after the ban: %v", err)
	}
}

func TestBanWindows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gaps []time.Duration // between connections
		want bool            // the last is banned
	}{
		"at once":              {[]time.Duration{0, 0, 0}, true},
		"within the windows":   {[]time.Duration{4 * time.Minute, 14 * time.Minute, 59 * time.Minute}, true},
		"after the first":      {[]time.Duration{6 * time.Minute, 0, 0}, false},
		"after the last":       {[]time.Duration{0, 0, 61 * time.Minute}, false},
		"banned, however late": {[]time.Duration{0, 0, 0, 100 * time.Hour}, true},
	} {
		d, now := door{ban: true}, time.Now()
		got := d.banned("a", now)
		for _, gap := range c.gaps {
			now = now.Add(gap)
			got = d.banned("a", now)
		}
		if got != c.want || d.banned("b", now) {
			t.Errorf("%s: banned %v, want %v", name, got, c.want)
		}
	}
}

// through logs into target over a channel of jump.
func through(t *testing.T, jump *ssh.Client, target *Router) (*ssh.Client, error) {
	t.Helper()
	conn, err := jump.Dial("tcp", endpoint(target))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	sc, channels, requests, err := ssh.NewClientConn(conn, endpoint(target), password(testPassword))
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(sc, channels, requests), nil
}

func TestForwarding(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Devices: 2, Versions: []string{"7.20.2"}, Size: 300_000})
	jump, target := f.Routers()[0], f.Routers()[1]
	c, err := dial(t, jump, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	var refused *ssh.OpenChannelError
	if _, err := through(t, c, target); !errors.As(err, &refused) || refused.Reason != ssh.Prohibited {
		t.Errorf("forwarding that is off: %v", err)
	}
	jump.SetForwarding(true)
	done := make(chan error, 4)
	for range cap(done) {
		behind, err := through(t, c, target)
		if err != nil {
			t.Fatal(err)
		}
		s, err := behind.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			out, err := s.Output(whole(target))
			if err == nil && settled(string(out)) != settled(target.Export()) {
				err = errors.New("not the export")
			}
			_ = behind.Close()
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wait(t, f, func(s []Session) bool { return s[0].Forwarded == 4 && s[0].Open && !s[1].Open && !s[4].Open })
	if _, err := through(t, c, target); err != nil {
		t.Fatal(err)
	}
	_ = c.Close() // ends what goes through it
	wait(t, f, func(s []Session) bool { return len(s) == 6 && !s[0].Open && !s[5].Open })
}

func TestForwardingToNobody(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Devices: 2, Versions: []string{"7.20.2"}})
	jump, target := f.Routers()[0], f.Routers()[1]
	jump.SetForwarding(true)
	c, err := dial(t, jump, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	if err := target.SetDown(true); err != nil {
		t.Fatal(err)
	}
	var refused *ssh.OpenChannelError
	if _, err := through(t, c, target); !errors.As(err, &refused) || refused.Reason != ssh.ConnectionFailed {
		t.Errorf("a router that is down: %v", err)
	}
	if err := errors.Join(target.SetDown(false), target.SetFault(SessionLimit)); err != nil {
		t.Fatal(err)
	}
	conn, err := c.Dial("tcp", endpoint(target))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the target's close does not come through: %d, %v", n, err)
	}
	if _, err := c.Dial("tcp", endpoint(target)); err != nil {
		t.Errorf("the close took the connection to the jump host with it: %v", err)
	}
}

// TestFaultsAtTheDoor are the faults that no client gets past.
func TestFaultsAtTheDoor(t *testing.T) {
	t.Parallel()
	for f, words := range map[Fault]string{Banned: "", SessionLimit: "", NoCommonAlgorithm: "hmac-md5", OldAlgorithms: "key exchange"} {
		r := faulty(t, f)
		if _, err := dial(t, r, password(testPassword)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v: %v", f, err)
		}
		if f == OldAlgorithms {
			if _, err := dial(t, r, willing()); err != nil {
				t.Errorf("%v: %v", f, err)
			}
		}
		wait(t, r.fleet, func(s []Session) bool { return !s[0].Open && s[0].Login == LoginNone && s[0].Banned == (f == Banned) })
		if err := r.SetFault(NoFault); err != nil {
			t.Fatal(err)
		}
		if out := run(t, r, `:put "x"`); out != "x\r\n" {
			t.Errorf("%v outlives itself: %q", f, out)
		}
	}
}
