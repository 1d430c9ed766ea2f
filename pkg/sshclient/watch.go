package sshclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

// watch closes a connection when its context ends or the deadline of the step under way passes, and keeps the first
// cause. The SSH library knows neither contexts nor deadlines: closing the socket is what wakes it.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	unhook func() bool

	mu    sync.Mutex
	timer *time.Timer // of the step under way; nil between steps
}

func newWatch(parent context.Context, c io.Closer) *watch {
	ctx, cancel := context.WithCancelCause(parent)
	return &watch{
		ctx:    ctx,
		cancel: cancel,
		unhook: context.AfterFunc(ctx, func() { _ = c.Close() }), // what waits on c reports; a second close changes nothing
	}
}

// step replaces the deadline. The fault it leaves reads "<step>: <missing> within <limit>".
func (w *watch) step(step, missing string, limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopTimer()
	w.timer = time.AfterFunc(limit, func() {
		w.cancel(fault.New(fault.Timeout, step, "%s within %s", missing, limit))
	})
}

// again starts the running deadline anew.
func (w *watch) again(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Reset(limit)
	}
}

// rest is for the time between steps, when only the context can end the connection.
func (w *watch) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopTimer()
}

// end lets go of the connection without closing it.
func (w *watch) end() {
	w.unhook()
	w.rest()
	w.cancel(nil)
}

// stopTimer needs mu.
func (w *watch) stopTimer() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// err says why the watch closed the connection during step; nil where it did not.
func (w *watch) err(step string) error { return ended(w.ctx, step) }

// ended puts the end of ctx during step into words; nil where ctx has not ended. A cause that is a fault keeps its kind,
// and one that is not, as of a process that stops, is no fault of the device.
func ended(ctx context.Context, step string) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](cause); ok {
		if f.Step == step {
			return cause
		}
		return fmt.Errorf("%s: %w", step, cause)
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return fault.New(fault.Timeout, step, "whole backup: not finished within its time: %w", cause)
	}
	return fmt.Errorf("%s: %w", step, cause)
}
