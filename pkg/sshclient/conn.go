// Package sshclient opens one SSH connection to one router, through jump hosts where there are any, runs commands and fetches
// files over it, and says in the kinds of package fault what went wrong.
package sshclient

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/device"
)

// The steps, as they stand in faults and traces.
const (
	stepDial      = "dial"
	stepHandshake = "handshake"
	stepLogin     = "login"
	stepExport    = "export"
	stepFile      = "sftp"
)

// Conn is an open, logged-in connection. Its methods are for one goroutine, save Close, which any may call.
type Conn struct {
	sock     *socket
	watch    *watch
	client   ssh.Conn
	timeouts Timeouts
	grow     func(b []byte, limit int) ([]byte, error)
	key      device.HostKey
	agreed   ssh.NegotiatedAlgorithms
	done     chan struct{} // closes when the connection has ended

	mu      sync.Mutex
	closing bool
	helpers sync.WaitGroup // work on the connection and end with it
}

// HostKey is the key that the router showed.
func (c *Conn) HostKey() device.HostKey { return c.key }

// Algorithms says what was agreed, by SSH names, for the direction from the router; mac is empty where the cipher needs
// none.
func (c *Conn) Algorithms() (kex, cipher, mac, hostKey string) {
	return c.agreed.KeyExchange, c.agreed.Read.Cipher, c.agreed.Read.MAC, c.agreed.HostKey
}

// Legacy names the outdated algorithms that were agreed because the router has nothing better, as in "key exchange
// diffie-hellman-group14-sha1", "host key signature ssh-rsa", "cipher 3des-cbc" and "MAC hmac-sha1"; nil where there are none.
func (c *Conn) Legacy() []string { return legacy(c.agreed) }

// Close ends the connection and waits for all that ran on it. Closing twice is no error.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.watch.end()
	err := c.sock.Close()
	_ = c.client.Wait() // always an error: that the connection is closed
	c.helpers.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// serve answers the router's requests and channels, which the library would otherwise stop reading for.
func (c *Conn) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.helpers.Go(func() { ssh.DiscardRequests(requests) })
	c.helpers.Go(func() {
		for ch := range channels {
			_ = ch.Reject(ssh.Prohibited, "no channels are served here") // fails only where the connection has ended
		}
		close(c.done)
	})
}

// start runs f, which must end with the connection, unless the connection is being closed.
func (c *Conn) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.helpers.Go(f)
	return true
}

// socket remembers why reading ended: the SSH library reports a lost connection to a session as a plain end of output.
type socket struct {
	net.Conn
	lost atomic.Pointer[error]
}

// Read keeps the first error.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		s.lost.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (s *socket) lostErr() error {
	if p := s.lost.Load(); p != nil {
		return *p
	}
	return nil
}

// broken says why the connection is lost; nil while it stands. Never io.EOF, which would read as a proper end.
func (c *Conn) broken() error {
	lost := c.sock.lostErr()
	if errors.Is(lost, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return lost
}
