package sshclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
)

// errJumpLost says that the connection to a jump host broke.
var errJumpLost = errors.New("connection to the jump host lost")

// jump is one connection to a jump host, or the attempt at one. Its fields below ready need Jumps.mu.
type jump struct {
	way   string
	ready chan struct{} // closes when conn or err is set
	conn  *Conn
	err   error
	stop  chan struct{} // closes when it is no longer wanted

	settled  bool // ready is closed
	uses     int  // sessions that have it or wait for it
	channels int  // that are being opened or have not ended
	retired  bool // closes with its last use
	over     bool // closes now: starts nothing any more
	stopped  bool // stop is closed
	timer    *time.Timer
}

// end asks the owner to close the connection. It needs Jumps.mu.
func (c *jump) end() {
	if !c.stopped {
		c.stopped = true
		close(c.stop)
	}
}

// run owns a connection from its dial to its end.
func (j *Jumps) run(c *jump, hops []Hop) {
	hop := hops[len(hops)-1]
	conn, err := j.enter(hops)
	j.mu.Lock()
	if err != nil {
		j.refuseLocked(hop, err)
		j.dropLocked(c)
		c.over = true
		err = hopFault(hop.Name, err)
	}
	c.conn, c.err, c.settled = conn, err, true
	j.mu.Unlock()
	close(c.ready)
	if err != nil {
		return
	}
	j.keep(c)
	j.mu.Lock()
	j.dropLocked(c)
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
	j.mu.Unlock()
	_ = conn.Close() // nothing is lost with it any more
}

// enter dials and logs in to the last hop.
func (j *Jumps) enter(hops []Hop) (*Conn, error) {
	hop := hops[len(hops)-1]
	target := hop.Target
	target.Dial = j.Dialer(hops[:len(hops)-1])
	conn, err := Dial(j.ctx, target, nil)
	if err != nil || target.HostKey != nil {
		return conn, err
	}
	if err := j.trust(hop, conn); err != nil {
		_ = conn.Close() // the error to tell is err
		return nil, err
	}
	return conn, nil
}

func (j *Jumps) trust(hop Hop, conn *Conn) error {
	if hop.Trust == nil {
		return fault.New(fault.Internal, stepHandshake, "its host key is not on record and nothing says what to do with a new one")
	}
	late := fault.New(fault.Infrastructure, stepHandshake, "its host key was not put on record within %s", jumpTrustTimeout)
	ctx, cancel := context.WithTimeoutCause(j.ctx, jumpTrustTimeout, late)
	defer cancel()
	err := hop.Trust(ctx, conn.HostKey())
	if _, ok := errors.AsType[*fault.Error](err); err == nil || ok {
		return err
	}
	if cause := ended(ctx, stepHandshake); cause != nil {
		return cause
	}
	return err
}

// keep returns when the connection is lost or no longer wanted.
func (j *Jumps) keep(c *jump) {
	ask := time.NewTicker(j.aliveInterval)
	defer ask.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-c.conn.done:
			return
		case <-ask.C:
			if err := c.conn.alive(j.aliveTimeout); err != nil {
				return
			}
		}
	}
}

// alive asks the other side for an answer, any answer, and closes the socket where none comes within limit.
func (c *Conn) alive(limit time.Duration) error {
	late := time.AfterFunc(limit, func() { _ = c.sock.Close() })
	defer late.Stop()
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// start runs f as one of c's channels, unless c is being closed.
func (j *Jumps) start(c *jump, f func()) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || c.over {
		return false
	}
	c.channels++
	j.running.Go(func() {
		f()
		j.mu.Lock()
		defer j.mu.Unlock()
		c.channels--
	})
	return true
}

// open opens a channel to endpoint. The use of c goes with the connection that it gives, and stays with the caller after
// an error.
func (j *Jumps) open(ctx context.Context, c *jump, hop Hop, endpoint string) (net.Conn, error) {
	extra, err := directTCPIP(endpoint)
	if err != nil {
		return nil, err
	}
	limit := hop.Target.Timeouts.orDefault().Dial
	late := fault.New(fault.Timeout, stepDial, "%s: no answer within %s through jump host %s; check address, route and firewall behind it",
		endpoint, limit, hop.Name)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	broken := func() error {
		if lost := c.conn.broken(); lost != nil {
			return &jumpLostError{name: hop.Name, err: lost}
		}
		return nil
	}
	s, _, err := openStream(ctx, c.conn.client, func(f func()) bool { return j.start(c, f) }, broken, "direct-tcpip", extra)
	if err == nil {
		return &jumpConn{stream: s, endpoint: endpoint, through: hop.Name, release: sync.OnceFunc(func() { j.release(c) })}, nil
	}
	if j.ctx.Err() != nil {
		return nil, stepError(stepDial, errJumpsClosed)
	}
	if cause := ended(ctx, stepDial); cause != nil {
		return nil, cause
	}
	return nil, channelFault(hop.Name, endpoint, err)
}

// directTCPIP is what asks a jump host for a connection (RFC 4254, 7.2). The originator is not told.
func directTCPIP(endpoint string) ([]byte, error) {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, fault.New(fault.Internal, stepDial, "%w", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fault.New(fault.Internal, stepDial, "%s: port: %w", endpoint, err)
	}
	return ssh.Marshal(struct {
		Host       string
		Port       uint32
		Originator string
		From       uint32
	}{host, uint32(n), "127.0.0.1", 0}), nil
}

// channelFault says whose fault it is that a jump host opened no channel.
func channelFault(name, endpoint string, err error) error {
	refusal, ok := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case !ok:
		return hopFault(name, fault.New(fault.Unreachable, stepDial, "%w: %w", errJumpLost, inner(err)))
	case refusal.Reason == ssh.ConnectionFailed:
		return fault.New(fault.Unreachable, stepDial, "%s: jump host %s does not reach it: %s; check address, port, route and firewall behind it",
			endpoint, name, quote(refusal.Message))
	case refusal.Reason == ssh.Prohibited, refusal.Reason == ssh.UnknownChannelType:
		return hopFault(name, fault.New(fault.Unreachable, stepDial, "it refuses to forward to %s: %s, %s; on RouterOS `/ip ssh set forwarding-enabled=local`, "+
			"on OpenSSH AllowTcpForwarding and PermitOpen", endpoint, refusal.Reason, quote(refusal.Message)))
	}
	return hopFault(name, fault.New(fault.Unreachable, stepDial, "it opens no connection to %s: %s, %s", endpoint, refusal.Reason, quote(refusal.Message)))
}

// hopError is what went wrong at a jump host. Its text alone is kept of a host key error, which would else read as one of
// the device.
type hopError struct {
	name string
	err  error
}

func (e *hopError) Error() string { return "through jump host " + e.name + ": " + e.err.Error() }
func (e *hopError) Unwrap() error { return e.err }

// hopFault makes err one of the jump host name, unless it is one of a jump host before it already.
func hopFault(name string, err error) error {
	if _, ok := errors.AsType[*hopError](err); ok {
		return err
	}
	kind := fault.KindOf(err)
	if _, ok := errors.AsType[*fault.Error](err); !ok {
		return stepError(stepDial, &hopError{name, err}) // as of a process that stops
	}
	switch kind {
	case fault.Timeout, fault.Infrastructure, fault.Internal:
	case fault.HostKey:
		return fault.New(fault.Unreachable, stepDial, "%w", &hopError{name, errors.New(hopText(name, err))})
	default:
		kind = fault.Unreachable
	}
	return fault.New(kind, stepDial, "%w", &hopError{name, err})
}

// hopText is err's text, with the advice for the jump host in place of the one for the device.
func hopText(name string, err error) string {
	advice := "hostkey accept " + name
	if differs, ok := errors.AsType[*HostKeyError](err); ok {
		advice += " " + differs.Seen.Fingerprint
	}
	return strings.ReplaceAll(err.Error(), "hostkey accept DEVICE", advice)
}

func stepError(step string, err error) error { return fmt.Errorf("%s: %w", step, err) }

// jumpLostError ends the sessions behind a jump host.
type jumpLostError struct {
	name string
	err  error
}

func (e *jumpLostError) Error() string {
	return "connection to jump host " + e.name + " lost: " + inner(e.err).Error()
}
func (e *jumpLostError) Unwrap() error { return e.err }

// jumpConn is a connection through a jump host.
type jumpConn struct {
	*stream
	endpoint, through string
	release           func()
}

// Close ends the session's use of the jump host.
func (c *jumpConn) Close() error {
	err := c.stream.Close()
	c.release()
	return err
}

// RemoteAddr names the device and the way to it.
func (c *jumpConn) RemoteAddr() net.Addr {
	return jumpAddr(c.endpoint + " through jump host " + c.through)
}

// LocalAddr is nothing that the device could see.
func (c *jumpConn) LocalAddr() net.Addr { return jumpAddr("through jump host " + c.through) }

// SetDeadline is not supported: closing is what ends a wait.
func (c *jumpConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline is not supported.
func (c *jumpConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline is not supported.
func (c *jumpConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type jumpAddr string

func (jumpAddr) Network() string  { return "ssh" }
func (a jumpAddr) String() string { return string(a) }
