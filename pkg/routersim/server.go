package routersim

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	sessionTimeout = 10 * time.Minute // of one connection, whatever it does
	acceptDelay    = 20 * time.Millisecond
	channelsMax    = 200 // open at once on one connection
	loginTriesMax  = 3   // RouterOS closes after these
	banner         = "SSH-2.0-ROSSSH"
)

// accept serves connections until the listener closes; to says whose each of them is, and nil resets it.
func (f *Fleet) accept(l *listener, to func(net.Conn) *Router) {
	defer close(l.done)
	stop := context.AfterFunc(f.ctx, func() { _ = l.Close() }) // shut reports a close that fails
	defer stop()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			if r := to(conn); r != nil {
				f.running.Go(func() { r.serve(conn) })
			} else {
				reset(conn)
			}
		case errors.Is(err, net.ErrClosed):
			return
		default: // no file descriptor is free: later one may be
			select {
			case <-time.After(acceptDelay):
			case <-f.ctx.Done():
			}
		}
	}
}

// reset ends a connection as nearly as can be as if nobody had listened.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only where the client has gone
	}
	_ = conn.Close()
}

// serve is one connection from accept to close.
func (r *Router) serve(conn net.Conn) {
	s := r.fleet.log.open(r.ID())
	defer r.fleet.log.close(s)
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(r.fleet.ctx, func() { _ = conn.Close() })
	defer stop()
	h := r.now()
	if r.door.banned(ipOf(conn.RemoteAddr()), time.Now()) || h.banned {
		r.fleet.log.update(func() { s.Banned = true })
		return
	}
	if !r.door.enter(h.maxSessions) {
		return
	}
	defer r.door.leave()
	if err := conn.SetDeadline(time.Now().Add(sessionTimeout)); err != nil {
		return // the client has gone
	}
	if h.fault == SilentAfterAccept {
		_, _ = io.Copy(io.Discard, conn) // until the client leaves
		return
	}
	if h.era == EraMD5 {
		conn = &md5Conn{Conn: conn}
	}
	login := func(result string) { r.fleet.log.update(func() { s.Login = result }) }
	sc, channels, requests, err := ssh.NewServerConn(conn, r.serverConfig(h, login))
	if err != nil {
		return // no common algorithm, a refused login or a client that left: the session log has it
	}
	defer func() { _ = sc.Close() }()
	var parts sync.WaitGroup
	parts.Go(func() { ssh.DiscardRequests(requests) })
	r.channels(channels, s)
	parts.Wait()
}

// channels serves the channels of one connection, all at once, and returns when it has closed.
func (r *Router) channels(channels <-chan ssh.NewChannel, s *Session) {
	ctx, cancel := context.WithCancel(r.fleet.ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	room := make(chan struct{}, channelsMax)
	for c := range channels {
		serve := func() { r.session(c, s) }
		switch c.ChannelType() {
		case "session":
		case "direct-tcpip":
			serve = func() { r.forward(ctx, c, s) }
		default:
			_ = c.Reject(ssh.UnknownChannelType, "only sessions") // fails only when the client has gone
			continue
		}
		select {
		case room <- struct{}{}:
			running.Go(func() {
				defer func() { <-room }()
				serve()
			})
		default:
			_ = c.Reject(ssh.ResourceShortage, "too many channels")
		}
	}
}

// serverConfig is what the router offers and whom it lets in, as it stands now.
func (r *Router) serverConfig(h habits, login func(string)) *ssh.ServerConfig {
	signer := r.hostKey(h.era)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &ssh.ServerConfig{
		Config:                  h.era.algorithms(r.profile),
		ServerVersion:           banner,
		MaxAuthTries:            loginTriesMax,
		PublicKeyAuthAlgorithms: h.era.userKeys(r.profile),
	}
	c.AddHostKey(signer)
	fault, username, password, keys := h.fault, r.fleet.username, r.password.Reveal(), r.keys
	refuse := errors.New("refused")
	c.PasswordCallback = func(m ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
		same := subtle.ConstantTimeCompare(given, []byte(password)) == 1
		if fault != WrongPassword && m.User() == username && same && password != "" && len(keys) == 0 {
			login(LoginOK) // before the client hears of it
			return nil, nil
		}
		login(LoginRefused)
		return nil, refuse
	}
	c.PublicKeyCallback = func(m ssh.ConnMetadata, given ssh.PublicKey) (*ssh.Permissions, error) {
		for _, k := range keys {
			if fault != WrongPassword && m.User() == username && bytes.Equal(k.Marshal(), given.Marshal()) {
				return nil, nil
			}
		}
		login(LoginRefused)
		return nil, refuse
	}
	c.VerifiedPublicKeyCallback = func(_ ssh.ConnMetadata, _ ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
		login(LoginOK)
		return p, nil
	}
	return c
}
