package natsio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	// TryTimeout is how long one request waits before it is sent again: an answer can be lost with a server.
	TryTimeout = 2 * time.Second
	// RetryDelay is the wait before a request that nobody answered is sent again.
	RetryDelay = 100 * time.Millisecond

	statusUnavailable = 503 // the code of a server whose JetStream is starting, stopping or electing
)

// Do makes a request that may safely arrive twice, and makes it again where nobody answered, as right after a restart of
// the server. When timeout passes or ctx ends, the error is a fault.Infrastructure of the step; every other error is the
// request's own, untouched.
func Do(ctx context.Context, timeout time.Duration, step string, request func(context.Context) error) error {
	deadline := time.Now().Add(timeout)
	err := try(ctx, min(timeout, TryTimeout), request)
	if err == nil || !transient(err) { // nearly always: the rest costs nothing then
		return err
	}
	whole, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for pause(whole, RetryDelay) {
		if err = try(whole, TryTimeout, request); err == nil || !transient(err) {
			return err
		}
	}
	if ctx.Err() != nil {
		return fault.New(fault.Infrastructure, step, "%w", context.Cause(ctx))
	}
	return fault.New(fault.Infrastructure, step, "no answer from NATS within %s: %w", timeout, plain(err))
}

// Fail makes err a fault.Infrastructure of the step, unless it has a kind already.
func Fail(step string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok || err == nil {
		return err
	}
	return fault.New(fault.Infrastructure, step, "%w", plain(err))
}

var errNotConnected = errors.New("not connected to NATS")

// plain puts what it means in place of the words of nats.go: there is no outbound buffer, see Connect.
func plain(err error) error {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return errNotConnected
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("JetStream does not answer; is it switched on (nats-server -js)?: %w", err)
	}
	return err
}

func try(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return request(ctx)
}

// transient says whether the same request may succeed in a moment.
func transient(err error) bool {
	for _, target := range []error{
		context.DeadlineExceeded, context.Canceled, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrReconnectBufExceeded,
		nats.ErrDisconnected, nats.ErrConnectionReconnecting, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code == statusUnavailable
}

// pause waits; false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
