package sshclient

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Timeouts are the named deadlines of a connection. Each closes the socket when it passes.
type Timeouts struct {
	Dial      time.Duration // name resolution and TCP
	Handshake time.Duration // from the TCP connection to the router's host key
	Login     time.Duration // from the host key to an open connection
	FirstByte time.Duration // from a command to the first byte of its output
	Idle      time.Duration // between two reads of output, and from the last one to the end of the session
}

// DefaultTimeouts suits slow routers on bad lines: 10 s, 30 s, 20 s, 60 s and 60 s.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Dial:      10 * time.Second,
		Handshake: 30 * time.Second,
		Login:     20 * time.Second,
		FirstByte: 60 * time.Second,
		Idle:      60 * time.Second,
	}
}

// orDefault fills what is zero.
func (t Timeouts) orDefault() Timeouts {
	d := DefaultTimeouts()
	for _, f := range []struct{ have, want *time.Duration }{
		{&t.Dial, &d.Dial},
		{&t.Handshake, &d.Handshake},
		{&t.Login, &d.Login},
		{&t.FirstByte, &d.FirstByte},
		{&t.Idle, &d.Idle},
	} {
		if *f.have <= 0 {
			*f.have = *f.want
		}
	}
	return t
}

// Target is one router and what opens it. With a PrivateKey the login is by public key, without by Password, never by
// both: RouterOS counts attempts and allows three on a connection.
type Target struct {
	Address    string // host name, IPv4 or IPv6 without brackets
	Port       int    // 0: 22
	Username   string
	Password   secret.Text
	PrivateKey secret.Text     // PEM or OpenSSH format, without a passphrase
	HostKey    *device.HostKey // nil: not known yet, any key is taken and Conn.HostKey tells which
	Timeouts   Timeouts        // zero fields: DefaultTimeouts

	// Dial, where set, makes the connection instead of TCP from this machine, as Jumps.Dialer does. It bounds its own
	// waits and gives up when ctx ends, and its errors are passed on as they are. Closing what it gave must wake what
	// waits on it.
	Dial func(ctx context.Context, endpoint string) (net.Conn, error)

	// Grow, where set, gives a buffer for output in place of b, with what b holds and room for more; more than limit bytes
	// will not be used. b goes out of use. It is called when the first output is there. An error ends the command.
	Grow func(b []byte, limit int) ([]byte, error)
}

func (t Target) endpoint() string {
	port := t.Port
	if port == 0 {
		port = device.DefaultPort
	}
	return net.JoinHostPort(t.Address, strconv.Itoa(port))
}

// login gives the one authentication method and its SSH name.
func (t Target) login() (ssh.AuthMethod, string, error) {
	if t.PrivateKey.Empty() {
		return ssh.PasswordCallback(func() (string, error) { return t.Password.Reveal(), nil }), "password", nil
	}
	signer, err := ssh.ParsePrivateKey([]byte(t.PrivateKey.Reveal()))
	if err != nil {
		return nil, "", fault.New(fault.Infrastructure, stepLogin,
			"private key of user %q is not readable: %s; the router was not dialled", t.Username, keyProblem(err))
	}
	return ssh.PublicKeys(signer), "publickey", nil
}

// keyProblem says what is wrong with a private key. A parser's own words could quote the key, so they are not used.
func keyProblem(err error) string {
	if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		return "it is protected by a passphrase; store it without one"
	}
	return "it is neither PEM nor OpenSSH format; store it as ssh-keygen writes it, without a passphrase"
}
