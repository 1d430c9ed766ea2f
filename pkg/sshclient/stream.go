package sshclient

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

var errClosing = errors.New("the connection is being closed")

// stream is an SSH channel whose Close wakes what waits on it at once, where the library's own channel waits for the other
// side to agree, and may for ever.
type stream struct {
	in     *io.PipeReader // carry moves what goes through the pipes
	out    *io.PipeWriter
	once   sync.Once
	closed chan struct{} // we closed it
	ended  chan struct{} // the other side agreed, or was first, or the connection is lost
	broken func() error  // why the connection under the channel is lost; nil while it stands
}

// openStream opens a channel and gives up when ctx ends, which the library cannot; a channel that comes too late is
// closed. start runs what ends with the channel, and says no where the connection is being closed. An error of the other
// side is an *ssh.OpenChannelError.
func openStream(ctx context.Context, client ssh.Conn, start func(func()) bool, broken func() error, kind string, extra []byte) (*stream, ssh.Channel, error) {
	type opened struct {
		stream  *stream
		channel ssh.Channel
		err     error
	}
	got := make(chan opened)
	ok := start(func() {
		ch, requests, err := client.OpenChannel(kind, extra)
		if err != nil {
			select {
			case got <- opened{err: err}:
			case <-ctx.Done():
			}
			return
		}
		in, fromChannel := io.Pipe()
		toChannel, out := io.Pipe()
		s := &stream{in: in, out: out, closed: make(chan struct{}), ended: make(chan struct{}), broken: broken}
		select {
		case got <- opened{s, ch, nil}:
		case <-ctx.Done():
			_ = s.Close() // nobody has it
		}
		s.carry(ch, requests, fromChannel, toChannel)
	})
	if !ok {
		return nil, nil, errClosing
	}
	select {
	case o := <-got:
		return o.stream, o.channel, o.err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

// carry moves data between the channel and the far ends of the pipes until the channel has ended.
func (s *stream) carry(ch ssh.Channel, requests <-chan *ssh.Request, fromChannel *io.PipeWriter, toChannel *io.PipeReader) {
	defer close(s.ended)
	over := make(chan struct{})
	var movers sync.WaitGroup
	movers.Go(func() {
		ssh.DiscardRequests(requests)
		close(over)
	})
	// What goes wrong here shows at our ends of the pipes, which end with these.
	movers.Go(func() {
		_, _ = io.Copy(fromChannel, ch)
		_ = fromChannel.Close()
	})
	movers.Go(func() {
		if _, err := io.Copy(ch, toChannel); err == nil {
			_ = ch.CloseWrite()
		}
		_ = toChannel.Close()
	})
	select {
	case <-s.closed:
		_ = ch.Close() // fails only where the other side was first or the connection is lost
	case <-over:
		_ = toChannel.Close()
	}
	movers.Wait()
}

// Close wakes what waits on the stream and leaves the rest to carry. Closing twice is no error.
func (s *stream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return errors.Join(s.in.Close(), s.out.Close())
}

// CloseWrite tells the other side that no more will come.
func (s *stream) CloseWrite() error { return s.out.Close() }

// waitEnd waits for the end of the channel, but not longer than limit.
func (s *stream) waitEnd(limit time.Duration) {
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
	}
}

// Read reads what the other side sent.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	return n, s.reason(err)
}

// Write gives p to the channel. An error of the channel shows at a later Write.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.out.Write(p)
	return n, s.reason(err)
}

// reason puts the pipe's error into the words of a network connection, so that io.EOF means an end that the other side
// made.
func (s *stream) reason(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	if lost := s.broken(); lost != nil {
		return lost
	}
	if errors.Is(err, io.ErrClosedPipe) {
		return io.ErrUnexpectedEOF
	}
	return err
}
