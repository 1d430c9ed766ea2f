package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	infoTimeout = 10 * time.Second
	infoMax     = 1 << 20 // bytes of what the server tells of itself
)

// Info is what the server tells of itself, INFO's fields by name; empty for miniredis.
func (r *Redis) Info(ctx context.Context) (map[string]string, error) {
	if r.child == nil {
		return map[string]string{}, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, infoTimeout, fmt.Errorf("no answer within the info timeout of %s", infoTimeout))
	defer cancel()
	var text string
	err := ask(ctx, r.port, r.token, "*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n", func(in *bufio.Reader) (err error) {
		text, err = readBulk(in)
		return err
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the connection was closed for it
	}
	if err != nil {
		return nil, fmt.Errorf("ask redis for its info: %w", err)
	}
	return infoFields(text), nil
}

// readBulk reads one string of Redis' protocol.
func readBulk(in *bufio.Reader) (string, error) {
	head, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "$")))
	if err != nil || n < 0 || n > infoMax {
		return "", fmt.Errorf("the answer begins with %q", head)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return "", err
	}
	return string(text), nil
}

func infoFields(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[name] = value
		}
	}
	return out
}

// Messages is how many messages the server's clients have sent to it, and it to them, since it was started.
func (n *NATS) Messages() (in, out int64, err error) {
	v, err := n.server.Varz(nil)
	if err == nil && v == nil {
		err = errors.New("it does not know")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("ask nats for its messages: %w", err)
	}
	return v.InMsgs, v.OutMsgs, nil
}
