package routersim

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	sessionTimeout = 10 * time.Minute // of one connection, whatever it does
	acceptDelay    = 20 * time.Millisecond
	loginTriesMax  = 3 // RouterOS closes after these
	banner         = "SSH-2.0-ROSSSH"
)

// accept serves connections until the listener closes.
func (r *Router) accept(l *listener) {
	defer close(l.done)
	stop := context.AfterFunc(r.fleet.ctx, func() { _ = l.Close() }) // unlisten reports a close that fails
	defer stop()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			r.fleet.running.Go(func() { r.serve(conn) })
		case errors.Is(err, net.ErrClosed):
			return
		default: // no file descriptor is free: later one may be
			select {
			case <-time.After(acceptDelay):
			case <-r.fleet.ctx.Done():
			}
		}
	}
}

// serve is one connection from accept to close.
func (r *Router) serve(conn net.Conn) {
	s := r.fleet.log.open(r.ID())
	defer r.fleet.log.close(s)
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(r.fleet.ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(sessionTimeout)); err != nil {
		return // the client has gone
	}
	if r.Fault() == SilentAfterAccept {
		_, _ = io.Copy(io.Discard, conn) // until the client leaves
		return
	}
	login := func(result string) { r.fleet.log.update(func() { s.Login = result }) }
	sc, channels, requests, err := ssh.NewServerConn(conn, r.serverConfig(login))
	if err != nil {
		return // no common algorithm, a refused login or a client that left: the session log has it
	}
	defer func() { _ = sc.Close() }()
	login(LoginOK)
	discarded := make(chan struct{})
	go func() {
		defer close(discarded)
		ssh.DiscardRequests(requests)
	}()
	for c := range channels {
		r.channel(c, s)
	}
	<-discarded
}

// serverConfig is what the router offers and whom it lets in, as it stands now.
func (r *Router) serverConfig(login func(string)) *ssh.ServerConfig {
	signer := r.hostKey()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &ssh.ServerConfig{
		Config:                  algorithms(r.profile, r.strong),
		ServerVersion:           banner,
		MaxAuthTries:            loginTriesMax,
		PublicKeyAuthAlgorithms: userKeys(r.profile),
	}
	c.AddHostKey(signer)
	fault, username, password, keys := r.fault, r.username, r.password.Reveal(), r.keys
	refuse := errors.New("refused")
	c.PasswordCallback = func(m ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
		same := subtle.ConstantTimeCompare(given, []byte(password)) == 1
		if fault != WrongPassword && m.User() == username && same && password != "" && len(keys) == 0 {
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
	return c
}

// algorithms is what the release offers.
func algorithms(p profile, strong bool) ssh.Config {
	switch {
	case strong:
		return ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeDHGEXSHA256},
			Ciphers:      []string{ssh.CipherAES192CTR, ssh.CipherAES256CTR},
			MACs:         []string{ssh.HMACSHA256},
		}
	case p.v6():
		return ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeDHGEXSHA256, ssh.InsecureKeyExchangeDH14SHA1},
			Ciphers:      []string{ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR},
			MACs:         []string{ssh.HMACSHA1},
		}
	}
	return ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeDH14SHA256, ssh.KeyExchangeDHGEXSHA256, ssh.InsecureKeyExchangeDH14SHA1},
		Ciphers:      []string{ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR},
		MACs:         []string{ssh.HMACSHA256, ssh.HMACSHA1},
	}
}

// userKeys is which public keys may log in: ed25519 only from 7.12.
func userKeys(p profile) []string {
	rsa := []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	if p.before710() {
		return rsa
	}
	return append(rsa, ssh.KeyAlgoED25519)
}
