package sshclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
)

func TestDialDeadlines(t *testing.T) {
	t.Parallel()
	hang := func(_ net.Conn, done <-chan struct{}) { <-done }
	const short = 30 * time.Millisecond
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		target := (&router{conn: hang}).start(t)
		target.Timeouts.Handshake = short
		_, err := Dial(t.Context(), target, nil)
		wantFault(t, err, fault.Timeout, "handshake: no host key within 30ms")
	})
	t.Run("login", func(t *testing.T) {
		t.Parallel()
		over := make(chan struct{})
		r := &router{}
		r.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
			<-over
			return nil, errors.New("too late")
		}
		target := r.start(t)
		t.Cleanup(func() { close(over) })
		target.Timeouts.Login = short
		_, err := Dial(t.Context(), target, nil)
		wantFault(t, err, fault.Timeout, "login: no answer within 30ms")
	})
	t.Run("dial", func(t *testing.T) {
		t.Parallel()
		target := (&router{}).start(t)
		target.Timeouts.Dial = 1 // passes before any connection can stand
		_, err := Dial(t.Context(), target, nil)
		wantFault(t, err, fault.Timeout, "dial: ", "no answer within 1ns")
	})
}

func TestDialCancelled(t *testing.T) {
	t.Parallel()
	stopping := errors.New("worker stops")
	whole := fault.New(fault.Timeout, "whole backup", "not finished within 5m0s")
	for _, cause := range []error{stopping, whole} {
		t.Run(cause.Error(), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			target := (&router{conn: func(c net.Conn, done <-chan struct{}) {
				hear(c)
				cancel(cause)
				<-done
			}}).start(t)
			start := time.Now()
			_, err := Dial(ctx, target, nil)
			if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "handshake: ") {
				t.Errorf("error = %v, want handshake: %v", err, cause)
			}
			if f, ok := errors.AsType[*fault.Error](err); ok != (cause == error(whole)) || ok && f.Kind != fault.Timeout {
				t.Errorf("kind of %v = %v", err, fault.KindOf(err))
			}
			if took := time.Since(start); took > patience {
				t.Errorf("took %s", took)
			}
		})
	}
	t.Run("context deadline", func(t *testing.T) {
		t.Parallel()
		target := (&router{conn: func(_ net.Conn, done <-chan struct{}) { <-done }}).start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := Dial(ctx, target, nil)
		wantFault(t, err, fault.Timeout, "handshake: whole backup: not finished")
	})
	t.Run("before the dial", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stopping)
		_, err := Dial(ctx, (&router{}).start(t), nil)
		if !errors.Is(err, stopping) {
			t.Errorf("error = %v, want %v", err, stopping)
		}
	})
}
