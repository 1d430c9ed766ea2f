package sshclient

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
)

// DefaultMaxBytes is the cap on one command's output, in bytes.
const DefaultMaxBytes = 16 << 20

const (
	growMin   = 32 << 10 // bytes; the smallest buffer, and the whole of most exports
	firstMax  = 512      // bytes of the first output that are read before there is a buffer for it
	stderrMax = 1 << 20  // bytes of error output that are thrown away; RouterOS writes none
)

// Exec runs one command and appends its standard output to dst, which grows as append would. It reads at once and
// without pause, because RouterOS cuts the output of a reader who lags, and waits for the session to end. max bounds
// the output in bytes; 0 means DefaultMaxBytes. An exit status other than 0, or none, is no error: RouterOS answers 0
// to commands that failed, so the output must prove itself.
//
// The buffer comes back with every error, and after an error the connection is closed. Errors are faults: timeout,
// incomplete for a lost connection, toolarge, rejected, permission, unreachable, and those of Target.Grow.
func (c *Conn) Exec(ctx context.Context, command string, dst []byte, max int) ([]byte, error) {
	if max <= 0 {
		max = DefaultMaxBytes
	}
	w := newWatch(ctx, c.sock)
	defer w.end()
	w.step(stepExport, "no first byte", c.timeouts.FirstByte)

	ch, requests, err := c.client.OpenChannel("session", nil)
	if err != nil {
		w.cancel(openFault(stepExport, err))
		return dst, c.why(w)
	}
	var helpers sync.WaitGroup
	var status bool
	helpers.Go(func() { status = sawStatus(requests) })
	helpers.Go(func() { discard(ch.Stderr(), w) })

	before := len(dst)
	dst, err = c.run(w, ch, command, dst, max)
	if err != nil {
		w.cancel(err) // closes the socket, which ends the helpers
	}
	helpers.Wait()
	if err := c.why(w); err != nil {
		return dst, err
	}
	if lost := c.sock.lostErr(); lost != nil && !status {
		return dst, fault.New(fault.Incomplete, stepExport, "connection lost after %d bytes: %w", len(dst)-before, inner(lost))
	}
	return dst, nil
}

// run starts the command and reads to the end of its output.
func (c *Conn) run(w *watch, ch ssh.Channel, command string, dst []byte, max int) ([]byte, error) {
	taken, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
	if err != nil {
		return dst, c.lostFault(0, err)
	}
	if !taken {
		return dst, fault.New(fault.Rejected, stepExport, "the router refuses to run commands over SSH; check /ip ssh and the user's group")
	}
	// RouterOS has no input to wait for; io.EOF means that it is done already.
	if err := ch.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
		return dst, c.lostFault(0, err)
	}
	start, end := len(dst), len(dst)+max
	var first [firstMax]byte // so that a session that waits for its output holds no buffer
	room := first[:min(firstMax, max+1)]
	for {
		n, err := ch.Read(room)
		if len(dst) == start {
			for cap(dst)-start < n {
				var refused error
				if dst, refused = c.grow(dst, end+1); refused != nil {
					return dst, refused
				}
			}
			copy(dst[start:start+n], first[:n])
		}
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > end:
			return dst, fault.New(fault.TooLarge, stepExport, "more than %d bytes of output, which is the cap", max)
		case n > 0 && len(dst) == start+n:
			w.step(stepExport, "no further output", c.timeouts.Idle)
		case n > 0:
			w.again(c.timeouts.Idle)
		}
		if errors.Is(err, io.EOF) {
			w.step(stepExport, "no end of the session", c.timeouts.Idle)
			return dst, nil
		}
		if err != nil {
			return dst, c.lostFault(len(dst)-start, err)
		}
		if len(dst) == cap(dst) {
			if dst, err = c.grow(dst, end+1); err != nil {
				return dst, err
			}
		}
		room = dst[len(dst):min(cap(dst), end+1)]
	}
}

// double is Target.Grow where nothing else is said.
func double(b []byte, limit int) ([]byte, error) {
	larger := make([]byte, len(b), min(max(2*cap(b), growMin), limit))
	copy(larger, b)
	return larger, nil
}

// why is the reason for a closed connection: what ended it under the command, or else what ended the command.
func (c *Conn) why(w *watch) error {
	if err := c.watch.err(stepExport); err != nil {
		return err
	}
	return w.err(stepExport)
}

func (c *Conn) lostFault(n int, err error) error {
	if lost := c.sock.lostErr(); lost != nil {
		err = lost
	}
	return fault.New(fault.Incomplete, stepExport, "connection lost after %d bytes: %w", n, inner(err))
}

func openFault(step string, err error) error {
	refusal, ok := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case !ok:
		return fault.New(fault.Incomplete, step, "connection lost before the command: %w", inner(err))
	case refusal.Reason == ssh.Prohibited:
		return fault.New(fault.Permission, step, "the router opens no session for this user: %s; check its group policy ssh", quote(refusal.Message))
	}
	return fault.New(fault.Unreachable, step, "the router opens no session: %s, %s", refusal.Reason, quote(refusal.Message))
}

// sawStatus answers the router's requests on a session until it ends, and says whether it named an exit status or
// signal, which it does only for a command that has ended.
func sawStatus(requests <-chan *ssh.Request) bool {
	seen := false
	for r := range requests {
		seen = seen || r.Type == "exit-status" || r.Type == "exit-signal"
		if r.WantReply {
			_ = r.Reply(false, nil) // fails only where the connection has ended, which the reader reports
		}
	}
	return seen
}

// discard reads error output so that it cannot fill the window it shares with the export.
func discard(stderr io.Reader, w *watch) {
	n, err := io.CopyN(io.Discard, stderr, stderrMax)
	if err == nil && n == stderrMax {
		w.cancel(fault.New(fault.TooLarge, stepExport, "more than %d bytes of error output, which is the cap", stderrMax))
	}
}
