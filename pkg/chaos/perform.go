//go:build unix

package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const flushTimeout = 2 * time.Second

// perform does the steps of a plan at their times and returns when the last one is over.
func (r *run) perform(ctx context.Context, steps []Step) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	var running sync.WaitGroup
	for _, s := range steps {
		if !pause(ctx, time.Until(begin.Add(s.At))) {
			break
		}
		running.Go(func() {
			if err := r.do(ctx, s); err != nil {
				cancel(err)
			}
		})
	}
	pause(ctx, time.Until(begin.Add(r.o.For)))
	running.Wait()
	return context.Cause(ctx)
}

// do does one step from its beginning to its end.
func (r *run) do(ctx context.Context, s Step) error {
	p := r.find(s.Role, s.Index)
	f := Fault{Act: s.Act, Role: s.Role, Index: s.Index, From: time.Now()}
	var err error
	switch s.Act {
	case Flush:
		r.say("FLUSHALL")
		if err := flushAll(ctx, r.redis); err != nil { // as where Redis is away or hangs: then it did not happen, or the hang ends with it
			r.say("FLUSHALL unanswered: %v", err)
		}
	case Kill:
		r.say("kill -9 %s, back after %s", p.name(), s.For.Round(time.Millisecond))
		if err = p.kill(); err == nil {
			pause(ctx, s.For)
			err = p.start()
		}
	case Stop:
		r.say("SIGSTOP %s for %s", p.name(), s.For.Round(time.Millisecond))
		if _, err = p.signal(syscall.SIGSTOP, false); err == nil {
			pause(ctx, s.For)
			_, err = p.signal(syscall.SIGCONT, false)
		}
	case Term:
		r.say("SIGTERM %s", p.name())
		var late bool
		if late, err = p.terminate(ctx, termPatience); late {
			r.say("%s did not end within %s of SIGTERM: killed", p.name(), termPatience)
			f.Act = Kill
		}
		if err == nil {
			err = p.start()
		}
	}
	f.To = time.Now()
	r.rec.fault(f)
	return err
}

// flushAll empties Redis in its own protocol.
func flushAll(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && answer != "+OK\r\n" {
		err = fmt.Errorf("it says %q", answer)
	}
	return err
}

// await returns when every slot of every healthy device from begin to end is done; without them, when every such device
// has been backed up at all.
func (r *run) await(ctx context.Context, patience time.Duration, begin, end time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("some healthy device is not backed up after %s", patience))
	defer cancel()
	for {
		if r.allDone(begin, end) {
			return nil
		}
		if !pause(ctx, sampleInterval) {
			return context.Cause(ctx)
		}
	}
}

func (r *run) allDone(begin, end time.Time) bool {
	newest := r.rec.newest()
	for _, router := range r.lab.healthy {
		t, any := newest[router.ID()]
		slots := Slots(router.ID(), r.interval, begin, end)
		if !any || len(slots) > 0 && t.Before(slots[len(slots)-1]) {
			return false
		}
	}
	return true
}

// follow keeps reading the states, so that no proof is missed that a later one replaces.
func (r *run) follow(ctx context.Context) {
	for seq := uint64(1); ; {
		next, err := r.reader.from(ctx, stateStream, seq, r.takeState)
		if seq = next; errors.Is(err, errUnreadable) {
			r.say("%v", err)
			seq++
		}
		if !pause(ctx, followInterval) {
			return
		}
	}
}

var errUnreadable = errors.New("unreadable")

func (r *run) takeState(m *jetstream.RawStreamMsg) error {
	p, ok, err := decodeProof(m)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if ok {
		r.rec.prove(p)
	}
	return nil
}

// gather ends confhaul's processes and reads what they left.
func (r *run) gather(ctx context.Context, e *Evidence) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, fmt.Errorf("streams not read within %s", endTimeout))
	defer cancel()
	e.Finish = time.Now()
	var ending sync.WaitGroup
	for _, p := range r.processes {
		if p.role == Scheduler || p.role == Worker {
			ending.Go(func() {
				if late, err := p.terminate(ctx, termPatience); err != nil || late {
					r.say("%s did not end within %s of SIGTERM (%v)", p.name(), termPatience, err)
				}
			})
		}
	}
	ending.Wait()
	if _, err := r.reader.from(ctx, stateStream, 1, r.takeState); err != nil {
		return err
	}
	for _, stream := range []string{snapshotStream, eventStream} {
		_, err := r.reader.from(ctx, stream, 1, func(m *jetstream.RawStreamMsg) error {
			e.Messages = append(e.Messages, ReadMessage(m.Subject, m.Sequence, m.Time, m.Data, r.rec.hasPrinted))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, m := range e.Messages {
		if m.Problem == "" && !m.Started.IsZero() {
			r.rec.prove(Proof{m.Device, m.Started})
		}
	}
	r.rec.see(time.Now(), r.lab.fleet.Sessions())
	r.rec.fill(e)
	return nil
}
