package natsio

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	// AnswerTimeout bounds the sending of one answer while there is no connection.
	AnswerTimeout = 30 * time.Second
	// What waits in the client's buffer for the moment it takes to hand it on or turn it away; more is dropped and told to
	// OnChange.
	pendingRequests     = 1024
	pendingRequestBytes = 8 << 20
)

// Service is a subject on which requests are answered.
type Service struct {
	Subject string
	Group   string // each request goes to one member of the group, in whichever process
	AtOnce  int    // requests in work here; any beyond it is answered with Busy at once
	// Answer gives a request's answer. It is called by many goroutines. Its context ends with that of Serve: it must then
	// return soon.
	Answer func(ctx context.Context, request []byte) []byte
	Busy   []byte
	// Report hears of answers that could not be sent and of messages that ask for none, which nobody works on. It is called
	// by many goroutines and must not block.
	Report func(error)
}

var (
	errNoReplyTo   = errors.New("a message without a reply subject is left alone: use a request")
	errServiceOver = errors.New("the subscription has ended: its connection was closed")
)

// Serve answers requests until ctx ends, which is no error. It survives restarts of the server. When it returns, every
// request that reached this process has its answer, what arrived during the last moments included.
func (c *Conn) Serve(ctx context.Context, s Service) error {
	step := "serve " + s.Subject
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var answers sync.WaitGroup
	slots := make(chan struct{}, s.AtOnce)
	sub, err := c.nc.QueueSubscribe(s.Subject, s.Group, func(m *nats.Msg) {
		if m.Reply == "" {
			s.Report(fault.New(fault.Rejected, step, "%w", errNoReplyTo))
			return
		}
		select {
		case slots <- struct{}{}:
			answers.Go(func() {
				defer func() { <-slots }()
				s.send(work, m, s.Answer(work, m.Data))
			})
		default:
			if err := m.Respond(s.Busy); err != nil {
				s.Report(Fail(step, err))
			}
		}
	})
	if err != nil {
		return Fail(step, err)
	}
	ended := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(ended) })
	if err := sub.SetPendingLimits(pendingRequests, pendingRequestBytes); err != nil {
		return errors.Join(Fail(step, err), sub.Unsubscribe())
	}
	select {
	case <-ctx.Done():
		drain(sub, ended)
	case <-ended:
		err = fault.New(fault.Infrastructure, step, "%w", errServiceOver)
	}
	cancel()
	answers.Wait()
	return err
}

// drain has the server send no more and waits for what it has sent, for DrainTimeout at most.
func drain(sub *nats.Subscription, ended <-chan struct{}) {
	if sub.Drain() == nil { // it refuses where the connection is closed, which ends the subscription too
		t := time.NewTimer(DrainTimeout)
		defer t.Stop()
		select {
		case <-ended:
			return
		case <-t.C:
		}
	}
	_ = sub.Unsubscribe() // its one error is that there is nothing left to end
	t := time.NewTimer(DrainTimeout)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C: // a connection that closed before the handler was set tells nobody
	}
}

// send sends an answer, and again where the connection was away: who asked may still be waiting.
func (s Service) send(ctx context.Context, m *nats.Msg, answer []byte) {
	err := Do(ctx, AnswerTimeout, "answer on "+s.Subject, func(context.Context) error { return m.Respond(answer) })
	if err != nil {
		s.Report(Fail("answer on "+s.Subject, err))
	}
}
