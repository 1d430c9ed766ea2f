package sshclient

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
)

// RemoveTimeout bounds RemoveFile, from opening its SFTP session to the router's answer.
const RemoveTimeout = 10 * time.Second

// filePiece is how much of a file is asked for at once, in bytes. It is the most that one SFTP packet holds everywhere:
// for more, the library takes a short answer for the end of the file.
const filePiece = 32 << 10

// sessionEndTimeout is for the router to end an SFTP session that we have ended. Sessions one after another are safe with
// any server, and with dropbear alone it is not safe that the next one begins before the last one has ended.
const sessionEndTimeout = 2 * time.Second

const fileAdvice = "the user's group needs the policy ftp"

// ReadFile appends the whole file to dst, which grows as append would. max bounds the file in bytes; 0 means
// DefaultMaxBytes. The limits of time are those of Exec.
//
// What goes wrong ends the SFTP session and leaves the connection as it is, and so does the end of ctx: RemoveFile works
// after it. For that the connection must outlive ctx: give Dial a context of its own, such as
// context.WithTimeout(context.WithoutCancel(ctx), limit), and close the connection when the file is removed.
//
// The buffer comes back with every error. Errors are faults: permission, incomplete for a lost connection and, wrapping
// fs.ErrNotExist, for a missing file, toolarge, rejected, timeout, unreachable, and those of Target.Grow.
func (c *Conn) ReadFile(ctx context.Context, name string, dst []byte, max int) ([]byte, error) {
	if max <= 0 {
		max = DefaultMaxBytes
	}
	w := newWatch(ctx, io.NopCloser(nil)) // overSFTP closes the session, not the connection
	defer w.end()
	w.step(stepFile, "no first byte", c.timeouts.FirstByte)
	err := c.overSFTP(w, func(client *sftp.Client) (err error) {
		dst, err = c.readFile(w, client, name, dst, max)
		return err
	})
	return dst, err
}

// RemoveFile removes a file and is nil where there is none. It takes RemoveTimeout at most. Errors are faults, as of
// ReadFile, and leave the connection as it is.
func (c *Conn) RemoveFile(ctx context.Context, name string) error {
	w := newWatch(ctx, io.NopCloser(nil))
	defer w.end()
	w.step(stepFile, "file "+quote(name)+" not removed", RemoveTimeout)
	return c.overSFTP(w, func(client *sftp.Client) error {
		err := client.Remove(name)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fileFault("remove", name, err)
	})
}

// overSFTP does work in an SFTP session of its own, which ends with w's context.
func (c *Conn) overSFTP(w *watch, work func(*sftp.Client) error) error {
	s, ch, err := openStream(w.ctx, c.client, c.start, c.broken, "session", nil)
	if err != nil {
		return c.fileReason(w, openFault(stepFile, err))
	}
	unhook := context.AfterFunc(w.ctx, func() { _ = s.Close() })
	defer unhook()
	err = c.inSession(w, s, ch, work)
	if err != nil {
		_ = s.Close() // what it was doing is of no interest any more
	}
	_ = s.CloseWrite()
	s.waitEnd(sessionEndTimeout)
	_ = s.Close()
	return c.fileReason(w, err)
}

// inSession does work over a session that was opened for it.
func (c *Conn) inSession(w *watch, s *stream, ch ssh.Channel, work func(*sftp.Client) error) error {
	if err := c.subsystem(w, ch); err != nil {
		return err
	}
	client, err := sftp.NewClientPipe(s, untilEOF{s})
	if err != nil {
		return fault.New(fault.Permission, stepFile, "the router takes an SFTP session and does not serve it: %s; %s", quote(err.Error()), fileAdvice)
	}
	if err = work(client); err != nil {
		_ = s.Close()
	}
	late := time.AfterFunc(sessionEndTimeout, func() { _ = s.Close() })
	defer late.Stop()
	_ = client.Close() // waits for the router's end of the session
	return err
}

// untilEOF lets the SFTP library end a session without cutting the other side short.
type untilEOF struct{ *stream }

func (u untilEOF) Close() error { return u.CloseWrite() }

// subsystem asks for SFTP on a session.
func (c *Conn) subsystem(w *watch, ch ssh.Channel) error {
	type answer struct {
		taken bool
		err   error
	}
	got := make(chan answer, 1)
	asked := c.start(func() {
		taken, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
		got <- answer{taken, err}
	})
	if !asked {
		return fault.New(fault.Incomplete, stepFile, "%w", errClosing)
	}
	select {
	case a := <-got:
		if a.err != nil {
			return fault.New(fault.Unreachable, stepFile, "the router ended the session: %w", inner(a.err))
		}
		if !a.taken {
			return fault.New(fault.Permission, stepFile, "the router refuses SFTP to this user; %s", fileAdvice)
		}
		return nil
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

func (c *Conn) readFile(w *watch, client *sftp.Client, name string, dst []byte, max int) ([]byte, error) {
	f, err := client.Open(name)
	if err != nil {
		return dst, fileFault("open", name, err)
	}
	start, end := len(dst), len(dst)+max
	for {
		if len(dst) == cap(dst) {
			if dst, err = c.grow(dst, end+1); err != nil {
				return dst, err
			}
		}
		n, err := f.Read(dst[len(dst):min(cap(dst), end+1, len(dst)+filePiece)])
		dst = dst[:len(dst)+n]
		if len(dst) > end {
			return dst, fault.New(fault.TooLarge, stepFile, "file %s has more than %d bytes, which is the cap", quote(name), max)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return dst, fileFault("read", name, err)
		}
		w.step(stepFile, "no further piece of the file", c.timeouts.Idle)
	}
	w.step(stepFile, "no end of the file", c.timeouts.Idle)
	if err := f.Close(); err != nil { // the router's answer proves that the end was not that of the connection
		return dst, fault.New(fault.Incomplete, stepFile, "file %s: session lost after %d bytes: %w", quote(name), len(dst)-start, err)
	}
	return dst, nil
}

// fileReason is why the work on a file failed: what ended it, or else the loss of the connection, or else its own error.
func (c *Conn) fileReason(w *watch, err error) error {
	if err == nil {
		return nil
	}
	if cause := c.watch.err(stepFile); cause != nil {
		return cause
	}
	if cause := w.err(stepFile); cause != nil {
		return cause
	}
	if lost := c.broken(); lost != nil {
		return fault.New(fault.Incomplete, stepFile, "connection lost: %w", inner(lost))
	}
	return err
}

func fileFault(operation, name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Incomplete, stepFile, "%s %s: %w", operation, quote(name), fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Permission, stepFile, "%s %s: %w; %s", operation, quote(name), fs.ErrPermission, fileAdvice)
	}
	if _, ok := errors.AsType[*sftp.StatusError](err); ok {
		return fault.New(fault.Rejected, stepFile, "%s %s: the router answers %s", operation, quote(name), quote(err.Error()))
	}
	return fault.New(fault.Incomplete, stepFile, "%s %s: the session broke off: %s", operation, quote(name), quote(err.Error()))
}
