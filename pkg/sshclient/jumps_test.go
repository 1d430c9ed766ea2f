package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient/sshtest"
)

func jumps(t *testing.T) *Jumps {
	t.Helper()
	j := NewJumps()
	t.Cleanup(j.Close)
	return j
}

// trusting is a hop whose host key is taken, whichever it is.
func trusting(name string, target Target) Hop {
	return Hop{Name: name, Key: name + "/v1", Target: target, Trust: func(context.Context, device.HostKey) error { return nil }}
}

// export runs one command over a new connection.
func export(ctx context.Context, target Target) (string, error) {
	c, err := Dial(ctx, target, nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	out, err := c.Exec(ctx, "/export", nil, 0)
	return string(out), err
}

// pooled counts the connections that later sessions can get, and their uses.
func pooled(j *Jumps) (conns, uses int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.pool {
		uses += c.uses
	}
	return len(j.pool), uses
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}

func TestJumpsShareOneConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const sessions = 50
			host, hop := at(t, tt.start, sshtest.Options{})
			text := string(filler(200_000))
			behind := printing([]byte(text)).start(t)
			behind.Dial = jumps(t).Dialer([]Hop{trusting("jump", hop)})
			var wg sync.WaitGroup
			for range sessions {
				wg.Go(func() {
					if out, err := export(t.Context(), behind); err != nil || out != text {
						t.Errorf("%d bytes, error %v", len(out), err)
					}
				})
			}
			wg.Wait()
			if got := host.Connections(); got != 1 {
				t.Errorf("%d connections at the jump host, want 1", got)
			}
		})
	}
}

func TestJumpsThroughTwoHops(t *testing.T) {
	t.Parallel()
	outer, outerTarget := at(t, sshtest.SSHD, sshtest.Options{})
	inner, innerTarget := at(t, sshtest.Dropbear, sshtest.Options{})
	far, behind := at(t, sshtest.SSHD, sshtest.Options{ForcedCommand: "cat export.rsc"})
	text := string(filler(5 << 20))
	if err := os.WriteFile(filepath.Join(far.Dir, "export.rsc"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	j := jumps(t)
	hops := []Hop{trusting("outer", outerTarget), trusting("inner", innerTarget)}
	through := func(hops []Hop) {
		t.Helper()
		behind.Dial = j.Dialer(hops)
		if out, err := export(t.Context(), behind); err != nil || out != text {
			t.Errorf("%d bytes, error %v", len(out), err)
		}
	}
	through(hops)
	through(hops)
	through(hops[:1])
	if outer.Connections() != 1 || inner.Connections() != 1 || far.Connections() != 3 {
		t.Errorf("%d, %d and %d connections, want 1, 1 and 3", outer.Connections(), inner.Connections(), far.Connections())
	}
	through(hops[1:]) // another way to the inner one
	if got := inner.Connections(); got != 2 {
		t.Errorf("%d connections at the inner hop, want 2", got)
	}
	if j.Dialer(nil) != nil {
		t.Error("no hops have a dialer")
	}
}

func TestJumpsTrace(t *testing.T) {
	t.Parallel()
	_, hop := at(t, sshtest.SSHD, sshtest.Options{})
	behind := (&router{}).start(t)
	behind.Dial = jumps(t).Dialer([]Hop{trusting("jump", hop)})
	conn, err := behind.Dial(t.Context(), behind.endpoint())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := conn.RemoteAddr().String(), behind.endpoint()+" through jump host jump"; got != want {
		t.Errorf("address %q, want %q", got, want)
	}
	for range 2 {
		_ = conn.Close()
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := conn.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestJumpsHostKey(t *testing.T) {
	t.Parallel()
	host, target := at(t, sshtest.SSHD, sshtest.Options{})
	behind := (&router{}).start(t)
	j := jumps(t)
	var trusted []device.HostKey
	hop := trusting("gw", target)
	hop.Trust = func(_ context.Context, k device.HostKey) error {
		trusted = append(trusted, k)
		return nil
	}
	try := func(known *device.HostKey) error {
		hop.Target.HostKey = known
		behind.Dial = j.Dialer([]Hop{hop})
		_, err := export(t.Context(), behind)
		return err
	}
	if err := try(nil); err != nil {
		t.Fatal(err)
	}
	if len(trusted) != 1 || trusted[0].Fingerprint != host.HostKeyFingerprint {
		t.Fatalf("trusted %v, want %s", trusted, host.HostKeyFingerprint)
	}
	old := trusted[0]
	if err := try(&old); err != nil || host.Connections() != 1 {
		t.Fatalf("%d connections, error %v", host.Connections(), err)
	}

	host.NewHostKey(t)
	if err := try(&old); err != nil || host.Connections() != 1 {
		t.Fatalf("an open connection was not used on: %d connections, error %v", host.Connections(), err)
	}
	fresh := device.HostKey{Fingerprint: host.HostKeyFingerprint}
	if err := try(&fresh); err != nil || host.Connections() != 2 {
		t.Fatalf("the key on record is new: %d connections, error %v", host.Connections(), err)
	}

	for range 3 {
		err := try(&old)
		wantFault(t, err, fault.Unreachable, "dial: through jump host gw: ", "on record is", old.Fingerprint, host.HostKeyFingerprint, "confhaul hostkey accept gw SHA256:")
		if _, ok := errors.AsType[*HostKeyError](err); ok {
			t.Fatal("the jump host's key reads as the device's")
		}
	}
	if got := host.Connections(); got != 3 {
		t.Errorf("%d connections: a differing key was dialled again", got)
	}
	if err := try(&fresh); err != nil || len(trusted) != 1 {
		t.Fatalf("error %v with the right key on record", err)
	}
}

func TestJumpsTrustRefuses(t *testing.T) {
	t.Parallel()
	_, target := at(t, sshtest.SSHD, sshtest.Options{})
	behind := (&router{}).start(t)
	for _, tt := range []struct {
		trust func(context.Context, device.HostKey) error
		kind  fault.Kind
		word  string
	}{
		{nil, fault.Internal, "not on record"},
		{func(context.Context, device.HostKey) error { return fault.New(fault.Infrastructure, "state", "no KV") }, fault.Infrastructure, "no KV"},
		{func(context.Context, device.HostKey) error { return errors.New("on second thoughts") }, fault.Internal, "second thoughts"},
	} {
		hop := trusting("gw", target)
		hop.Trust = tt.trust
		behind.Dial = jumps(t).Dialer([]Hop{hop})
		_, err := export(t.Context(), behind)
		wantFault(t, err, tt.kind, "dial: through jump host gw: ", tt.word)
	}
}

func TestJumpsRememberRefusedLogin(t *testing.T) {
	t.Parallel()
	host, target := at(t, sshtest.SSHD, sshtest.Options{})
	good := target.PrivateKey
	target.PrivateKey = pemOf(otherKey())
	behind := (&router{}).start(t)
	j := jumps(t)
	hop := trusting("gw", target)
	behind.Dial = j.Dialer([]Hop{hop})
	_, err := export(t.Context(), behind)
	wantFault(t, err, fault.Unreachable, "dial: through jump host gw: login: ", "refused")
	for range 3 {
		_, err = export(t.Context(), behind)
		wantFault(t, err, fault.Unreachable, "dial: through jump host gw: ", "refused", "not tried again before ")
	}
	if got := host.Connections(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
	hop.Target.PrivateKey, hop.Key = good, "gw/v2"
	behind.Dial = j.Dialer([]Hop{hop})
	if _, err := export(t.Context(), behind); err != nil {
		t.Errorf("another credential: %v", err)
	}

	r := refusal{at: time.Now(), cause: "x"}
	if !r.stands(hop, r.at.Add(JumpRefusedDelay-1)) || r.stands(hop, r.at.Add(JumpRefusedDelay)) {
		t.Error("a refusal does not stand for JumpRefusedDelay")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refused["old"] = refusal{at: time.Now().Add(-JumpRefusedDelay)}
	j.refuseLocked(hop, fault.New(fault.Unreachable, stepDial, "no route"))
	if len(j.refused) != 1 || j.refused["gw/v1"].cause == "" {
		t.Errorf("remembered %v", j.refused)
	}
}

func TestJumpsHopFaults(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := Target{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	_ = l.Close()
	_, open := at(t, sshtest.SSHD, sshtest.Options{})
	_, closed := at(t, sshtest.SSHD, sshtest.Options{NoForwarding: true})
	_, closedToo := at(t, sshtest.Dropbear, sshtest.Options{NoForwarding: true})
	silent := (&router{conn: func(_ net.Conn, done <-chan struct{}) { <-done }}).start(t)
	silent.Timeouts.Handshake = 50 * time.Millisecond
	slow := (&router{channel: func(ssh.NewChannel) bool { return true }}).start(t)
	slow.Timeouts.Dial = 50 * time.Millisecond
	unreadable := open
	unreadable.PrivateKey = secret.New("x")
	behind := (&router{}).start(t)

	for _, tt := range []struct {
		name   string
		hops   []Target
		device Target
		kind   fault.Kind
		words  []string
	}{
		{"nothing listens at the hop", []Target{nobody}, behind, fault.Unreachable, []string{"dial: through jump host hop0: dial: ", "nothing listens there"}},
		{"nothing listens at the second hop", []Target{open, nobody}, behind, fault.Unreachable,
			[]string{"dial: through jump host hop1: dial: " + nobody.endpoint(), "jump host hop0 does not reach it"}},
		{"nothing listens at the first of two hops", []Target{nobody, open}, behind, fault.Unreachable, []string{"dial: through jump host hop0: dial: "}},
		{"nothing listens at the device", []Target{open}, nobody, fault.Unreachable, []string{"dial: " + nobody.endpoint() + ": jump host hop0 does not reach it", "refused"}},
		{"sshd does not forward", []Target{closed}, behind, fault.Unreachable, []string{"dial: through jump host hop0: ", "refuses to forward", "forwarding-enabled=local", "AllowTcpForwarding"}},
		{"dropbear does not forward", []Target{closedToo}, behind, fault.Unreachable, []string{"dial: through jump host hop0: ", "refuses to forward"}},
		{"the hop is silent", []Target{silent}, behind, fault.Timeout, []string{"dial: through jump host hop0: handshake: no host key within 50ms"}},
		{"the channel takes too long", []Target{slow}, behind, fault.Timeout, []string{"dial: " + behind.endpoint() + ": no answer within 50ms through jump host hop0"}},
		{"our own fault", []Target{unreadable}, behind, fault.Infrastructure, []string{"through jump host hop0: ", "not readable"}},
		{"an address without sense", []Target{open}, Target{Address: "127.0.0.1", Port: 70000}, fault.Internal, []string{"dial: "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var hops []Hop
			for i, h := range tt.hops {
				hops = append(hops, trusting(fmt.Sprintf("hop%d", i), h))
			}
			tt.device.Dial = jumps(t).Dialer(hops)
			_, err := export(t.Context(), tt.device)
			wantFault(t, err, tt.kind, tt.words...)
			if strings.Count(err.Error(), "through jump host") > 1 {
				t.Errorf("names two jump hosts: %v", err)
			}
		})
	}
}
