package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	readyTimeout = 10 * time.Second     // start of the child to its first answer
	pingTimeout  = time.Second          // of one question
	pingInterval = 5 * time.Millisecond // between two
)

var errEnded = errors.New("redis-server ended before it answered")

// waitReady asks the server on port until it answers, until ended, which gives errEnded, or until the ready timeout.
func waitReady(ctx context.Context, port int, token secret.Text, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("no answer within the ready timeout of %s", readyTimeout))
	defer cancel()
	ctx, give := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer give(nil)
	watch.Go(func() {
		select {
		case <-ended:
			give(errEnded)
		case <-ctx.Done():
		}
	})

	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		last := ping(ctx, port, token)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (ping: %w)", context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}

// ping asks one question.
func ping(ctx context.Context, port int, token secret.Text) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return ask(ctx, port, token, "*1\r\n$4\r\nPING\r\n", func(in *bufio.Reader) error {
		const want = "+PONG\r\n"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(in, got); err != nil {
			return err
		}
		if string(got) != want {
			return errOther
		}
		return nil
	})
}

var errOther = errors.New("another server answered")

// ask sends one command in Redis' protocol and has its answer read. Only a server that knows the token counts: whoever else
// took the port is not ours. A client library would dial with its own patience and log every refusal.
func ask(ctx context.Context, port int, token secret.Text, command string, read func(*bufio.Reader) error) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	t := token.Reveal()
	if _, err := fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n%s", len(t), t, command); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	const want = "+OK\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in, got); err != nil {
		return err
	}
	if string(got) != want {
		return errOther
	}
	return read(in)
}
