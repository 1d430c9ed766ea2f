package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	stopGrace = 20 * time.Second // end asked for to end forced
	tailMax   = 600              // bytes of a log that tell why its process ended
)

// ChildOptions say what process to start.
type ChildOptions struct {
	Name    string // for people
	Program string
	Args    []string
	Env     []string
	Log     string          // file for its standard error
	Died    func(err error) // hears of an end that Stop did not ask for
}

// Child is a process of ours that speaks JSON over its standard input and output, one value after the other, or says nothing.
// It dies with this process. One goroutine at a time may send and receive.
type Child struct {
	o       ChildOptions
	process *os.Process
	in      *os.File // our end of its standard input
	out     *os.File // and of its standard output
	values  *json.Decoder
	ended   chan struct{}
	leaving atomic.Bool
	stop    sync.Once
}

// StartChild starts the process.
func StartChild(o ChildOptions) (*Child, error) {
	c := &Child{o: o, ended: make(chan struct{})}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, childIn.Close(), in.Close())
	}
	c.in, c.out, c.values = in, out, json.NewDecoder(out)
	log, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		cmd := exec.Command(o.Program, o.Args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, log
		cmd.Env, cmd.SysProcAttr = o.Env, childAttributes()
		started := make(chan error, 1)
		go c.own(cmd, started) // ends with the process, which Stop waits for
		err = errors.Join(<-started, log.Close())
	}
	_, _ = childIn.Close(), childOut.Close() // the child has its own
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", o.Name, err), in.Close(), out.Close())
	}
	return c, nil
}

// own starts the process and stays with it to its end. It keeps its thread for as long, because Linux sends the signal
// for a dead parent when the thread that started the child ends, not when the process does.
func (c *Child) own(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.ended)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.process = cmd.Process
	started <- nil
	err := cmd.Wait()
	if !c.leaving.Load() {
		c.o.Died(fmt.Errorf("%s ended by itself: %w%s", c.o.Name, endOf(err), c.tail()))
	}
}

// endOf names the end of a process that ended well.
func endOf(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// PID is the process id.
func (c *Child) PID() int { return c.process.Pid }

// Name is the process's, for people.
func (c *Child) Name() string { return c.o.Name }

// Log is what the process has written to its standard error so far.
func (c *Child) Log() ([]byte, error) { return os.ReadFile(c.o.Log) }

// tail is the end of the log, for an error.
func (c *Child) tail() string {
	log, err := c.Log()
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(log[max(0, len(log)-tailMax):]))
	if text == "" {
		return ""
	}
	return "; it said last: " + text
}

// Send gives the process a value.
func (c *Child) Send(ctx context.Context, v any) error {
	defer context.AfterFunc(ctx, func() { _ = c.in.SetWriteDeadline(time.Unix(1, 0)) })() // fails only where the pipe is closed
	if err := json.NewEncoder(c.in).Encode(v); err != nil {
		return c.failed(ctx, err)
	}
	return nil
}

// Receive waits for the next value of the process.
func (c *Child) Receive(ctx context.Context, v any) error {
	defer context.AfterFunc(ctx, func() { _ = c.out.SetReadDeadline(time.Unix(1, 0)) })() // fails only where the pipe is closed
	if err := c.values.Decode(v); err != nil {
		return c.failed(ctx, err)
	}
	return nil
}

func (c *Child) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for %s: %w", c.o.Name, context.Cause(ctx))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s ended before it was done%s", c.o.Name, c.tail())
	}
	return fmt.Errorf("speak with %s: %w", c.o.Name, err)
}

// Stop asks the process to end, waits for that, and kills it after 20 s, which is an error. It may be called more than once.
func (c *Child) Stop() (err error) {
	c.stop.Do(func() {
		c.leaving.Store(true)
		defer func() { _, _ = c.in.Close(), c.out.Close() }()
		if serr := c.process.Signal(stopSignal); serr != nil && !errors.Is(serr, os.ErrProcessDone) {
			err = fmt.Errorf("stop %s: %w", c.o.Name, serr)
		}
		timer := time.NewTimer(stopGrace)
		defer timer.Stop()
		select {
		case <-c.ended:
			return
		case <-timer.C:
		}
		err = errors.Join(err, fmt.Errorf("%s did not end within the stop grace of %s and was killed", c.o.Name, stopGrace), c.process.Kill())
		<-c.ended
	})
	return err
}

// Listening finds in the log of a process at which address it serves health and metrics; "" where it does not say yet.
func Listening(log []byte) string {
	for line := range bytes.Lines(log) {
		var l struct{ Msg, Address string }
		if json.Unmarshal(line, &l) == nil && l.Msg == "serving health and metrics" {
			return l.Address
		}
	}
	return ""
}
