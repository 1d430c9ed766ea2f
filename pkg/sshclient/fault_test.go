package sshclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
)

func TestDialFault(t *testing.T) {
	t.Parallel()
	op := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		err   error
		kind  fault.Kind
		words string
	}{
		{op(os.NewSyscallError("connect", syscall.ECONNREFUSED)), fault.Unreachable, "nothing listens there"},
		{op(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), fault.Unreachable, "check address, route and firewall"},
		{op(&net.DNSError{Err: "no such host", Name: "gw.example", IsNotFound: true}), fault.Unreachable, "name server"},
		{op(os.NewSyscallError("socket", syscall.EMFILE)), fault.Infrastructure, "out of sockets"},
		{op(os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)), fault.Infrastructure, "out of sockets"},
	} {
		wantFault(t, dialFault("gw.example:22", tt.err), tt.kind, "dial: gw.example:22: ", tt.words)
	}
}

func TestHandshakeFault(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x\x1b[2J", 10_000)
	for _, tt := range []struct {
		err   error
		kind  fault.Kind
		words string
	}{
		{fmt.Errorf("ssh: handshake failed: %w", io.EOF), fault.Unreachable, "took the connection and closed it"},
		{errors.New("ssh: server-generated gex p is out of range (1024 bits)"), fault.Negotiation, "strong-crypto=yes"},
		{errors.New("ssh: disconnect, reason 11: \"bye\""), fault.Unreachable, "bye"},
		{errors.New("ssh: " + long), fault.Unreachable, "does not speak SSH"},
		{&ssh.AlgorithmNegotiationError{What: "host key", RequestedAlgorithms: []string{"ssh-dss", "x509v3-sign-dss"}}, fault.Negotiation, "only a DSA host key"},
		{&ssh.AlgorithmNegotiationError{What: "host key", RequestedAlgorithms: []string{"ssh-dss", "ssh-rsa-cert"}}, fault.Negotiation, "RSA or Ed25519 host key"},
		{&ssh.AlgorithmNegotiationError{What: "client to server MAC", RequestedAlgorithms: []string{"hmac-md5"}}, fault.Negotiation, "only MACs made of MD5"},
		{&ssh.AlgorithmNegotiationError{What: "server to client MAC"}, fault.Negotiation, "; set /ip ssh strong-crypto=yes, or upgrade"},
		{&ssh.AlgorithmNegotiationError{What: "client to server cipher", RequestedAlgorithms: []string{"none"}}, fault.Negotiation, "ciphers=auto"},
		{&ssh.AlgorithmNegotiationError{What: "key exchange", RequestedAlgorithms: []string{long}}, fault.Negotiation, "the router offers"},
	} {
		err := handshakeFault("gw.example:22", tt.err)
		wantFault(t, err, tt.kind, "handshake: ", tt.words)
		if text := err.Error(); strings.Contains(text, "\x1b") || len(text) > 3*quoteMax {
			t.Errorf("text of %d bytes with the router's own: %q", len(text), text)
		}
	}
}

func TestLoginFault(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err   string
		login login
		kind  fault.Kind
		words string
	}{
		{"ssh: unable to authenticate, attempted methods [none password], no supported methods remain", login{"u", "password", nil}, fault.Auth, "refused"},
		{"ssh: unable to authenticate, attempted methods [none], no supported methods remain", login{"u", "password", []string{"publickey"}}, fault.Auth, `offers only "publickey"`},
		{`ssh: disconnect, reason 14: "no more"`, login{"u", "publickey", nil}, fault.Auth, "/user ssh-keys"},
		{`ssh: disconnect, reason 2: "Too many authentication failures"`, login{"u", "password", nil}, fault.Auth, "refused"},
		{`ssh: disconnect, reason 11: "idle"`, login{"u", "password", nil}, fault.Unreachable, "broke off"},
	} {
		wantFault(t, loginFault(tt.login, errors.New(tt.err)), tt.kind, `login: user "u" by `+tt.login.method, tt.words)
	}
	wantFault(t, loginFault(login{user: "u", method: "password"}, fmt.Errorf("x: %w", io.EOF)), fault.Unreachable, "connection lost")
}
