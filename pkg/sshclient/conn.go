// Package sshclient opens one SSH connection to one router, runs commands on it, and says in the kinds of package fault
// what went wrong.
package sshclient

import (
	"errors"
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
)

// Conn is an open, logged-in connection. Its methods are for one goroutine, save Close, which any may call.
type Conn struct {
	sock     *socket
	watch    *watch
	client   ssh.Conn
	timeouts Timeouts
	reserve  func(delta int) error
	key      device.HostKey
	agreed   ssh.NegotiatedAlgorithms
	helpers  sync.WaitGroup // answer what the router asks on the connection; they end with it
}

// HostKey is the key that the router showed.
func (c *Conn) HostKey() device.HostKey { return c.key }

// Algorithms says what was agreed, by SSH names, for the direction from the router; mac is empty where the cipher needs
// none.
func (c *Conn) Algorithms() (kex, cipher, mac, hostKey string) {
	return c.agreed.KeyExchange, c.agreed.Read.Cipher, c.agreed.Read.MAC, c.agreed.HostKey
}

// Close ends the connection and waits for all that ran on it. Closing twice is no error.
func (c *Conn) Close() error {
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
	})
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
