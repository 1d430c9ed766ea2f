package routersim

import (
	"context"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

const forwardTimeout = 10 * time.Second // of the connection to where a channel goes

// forward serves one direct-tcpip channel until either side closes it or ctx, the connection's, ends.
func (r *Router) forward(ctx context.Context, c ssh.NewChannel, s *Session) {
	if h := r.now(); !h.forwarding || !h.may(PolicySSH) {
		_ = c.Reject(ssh.Prohibited, "forwarding is off") // fails only when the client has gone
		return
	}
	var to struct {
		Host     string
		Port     uint32
		FromHost string
		FromPort uint32
	}
	if err := ssh.Unmarshal(c.ExtraData(), &to); err != nil {
		_ = c.Reject(ssh.ConnectionFailed, "bad request")
		return
	}
	dialer := net.Dialer{Timeout: forwardTimeout}
	target, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(to.Host, strconv.FormatUint(uint64(to.Port), 10)))
	if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, "no connection")
		return
	}
	defer func() { _ = target.Close() }()
	ch, requests, err := c.Accept()
	if err != nil {
		return // the client has gone
	}
	r.fleet.log.update(func() { s.Forwarded++ })
	closed := make(chan struct{}) // when the client has closed the channel, which ends all reading from it
	go func() {
		defer close(closed)
		ssh.DiscardRequests(requests)
		_ = target.Close()
	}()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(target, ch) // whatever ends it ends the channel
		_ = target.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(ch, target)
	_ = ch.Close()
	<-closed
	<-sent
}
