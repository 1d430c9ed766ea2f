package sshclient

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// quoteMax bounds, in bytes, what is quoted from a router.
const quoteMax = 400

// dialFault classifies what kept a TCP connection from being made.
func dialFault(endpoint string, err error) error {
	for _, ours := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, ours) {
			return fault.New(fault.Infrastructure, stepDial, "%s: this machine is out of sockets or ports: %w", endpoint, inner(err))
		}
	}
	advice := "check address, route and firewall"
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		advice = "check the address in the inventory and this machine's name server"
	case errors.Is(err, syscall.ECONNREFUSED):
		advice = "nothing listens there; check the port and /ip service ssh"
	}
	return fault.New(fault.Unreachable, stepDial, "%s: %w; %s", endpoint, inner(err), advice)
}

// inner takes off the net package's own words, which repeat the operation and the address, and those of the SSH library
// round the loss of a jump host.
func inner(err error) error {
	if lost, ok := errors.AsType[*jumpLostError](err); ok {
		return lost
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// handshakeFault classifies what went wrong between the TCP connection and the host key.
func handshakeFault(endpoint string, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if n, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
		return negotiationFault(n)
	}
	if strings.Contains(err.Error(), "gex p is out of range") {
		return fault.New(fault.Negotiation, stepHandshake,
			"the router offers no key exchange but one with a prime below 2048 bits; set /ip ssh strong-crypto=yes on it")
	}
	if connectionLost(err) {
		return fault.New(fault.Unreachable, stepHandshake,
			"%s took the connection and closed it: %w; check /ip service ssh address=, max-sessions and the firewall", endpoint, inner(err))
	}
	return fault.New(fault.Unreachable, stepHandshake, "%s broke the handshake off or does not speak SSH: %s; check the port and the router's log", endpoint, quote(err.Error()))
}

func negotiationFault(n *ssh.AlgorithmNegotiationError) error {
	return fault.New(fault.Negotiation, stepHandshake, "no common algorithm for %s: the router offers %s; we take %s; %s",
		n.What, quote(strings.Join(n.RequestedAlgorithms, " ")), strings.Join(n.SupportedAlgorithms, " "), negotiationAdvice(n))
}

// negotiationAdvice is what to do on the router.
func negotiationAdvice(n *ssh.AlgorithmNegotiationError) string {
	switch {
	case n.What == "host key" && all(n.RequestedAlgorithms, "dss"):
		return "it has only a DSA host key, which nothing of today takes: upgrade RouterOS to 6.33 or later, then /ip ssh regenerate-host-key"
	case n.What == "host key":
		return "the router needs an RSA or Ed25519 host key: /ip ssh regenerate-host-key, which RouterOS 6.33 or later does"
	case strings.HasSuffix(n.What, "MAC") && all(n.RequestedAlgorithms, "md5"):
		return "it has only MACs made of MD5, which nothing of today takes: set /ip ssh strong-crypto=yes, or upgrade RouterOS"
	case strings.HasSuffix(n.What, "cipher"):
		return "set /ip ssh strong-crypto=yes and, where it has the setting, ciphers=auto, or upgrade RouterOS"
	}
	return "set /ip ssh strong-crypto=yes, or upgrade RouterOS"
}

// all says whether there are names and each holds part.
func all(names []string, part string) bool {
	return len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return !strings.Contains(name, part) })
}

// HostKeyError says that an SSH server showed another key than the one on record. It stands in the chain of a fault of
// kind hostkey.
type HostKeyError struct {
	Known device.HostKey // on record; its Type may be "" and its Key empty
	Seen  device.HostKey // shown now
}

// Error says which keys, and what to do.
func (e *HostKeyError) Error() string {
	known := strings.TrimSpace(e.Known.Type + " " + e.Known.Fingerprint)
	if !e.Known.SeenAt.IsZero() {
		known += " (seen " + e.Known.SeenAt.UTC().Format(time.DateOnly) + ")"
	}
	return fmt.Sprintf("the router shows %s %s, on record is %s; no credential was sent. If the router was replaced, reset or given a new key, "+
		"compare the shown fingerprint with the router, then use `confhaul hostkey accept DEVICE`; if not, something else answers at its address",
		e.Seen.Type, e.Seen.Fingerprint, known)
}

// login is what a refused login is explained by.
type login struct {
	user, method string
	offers       []string // methods that the router offers; nil: not known
}

// loginFault classifies what went wrong between the host key and the open connection.
func loginFault(l login, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if !refused(err) {
		what := "connection lost"
		if !connectionLost(err) {
			what = "the router broke off"
		}
		return fault.New(fault.Unreachable, stepLogin, "user %q by %s: %s before an answer: %s; check /user address= and the router's log",
			l.user, l.method, what, quote(inner(err).Error()))
	}
	if l.offers != nil && !slices.Contains(l.offers, l.method) {
		return fault.New(fault.Auth, stepLogin, "user %q by %s: the router offers only %s; %s",
			l.user, l.method, quote(strings.Join(l.offers, ", ")), l.advice())
	}
	return fault.New(fault.Auth, stepLogin, "user %q by %s: refused; %s", l.user, l.method, l.advice())
}

func (l login) advice() string {
	if l.method == "publickey" {
		return "check that /user ssh-keys has this key for the user (Ed25519 keys need RouterOS 7.12, ECDSA keys are not taken), " +
			"that the user is enabled, and its /user address= and group policy ssh"
	}
	return "check the password, that the user is enabled, its /user address= and group policy ssh; " +
		"a user with an SSH key cannot use a password unless /ip ssh password-authentication=yes (before 7.21: always-allow-password-login=yes)"
}

// refused says whether the router turned the login down, as against a connection that broke. The library has no type
// for either: the first text is its own, the others are its words for the router's disconnect message, where reason 14
// means that no login method is left.
func refused(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unable to authenticate") ||
		strings.Contains(text, "disconnect, reason 14:") ||
		strings.Contains(text, "disconnect, reason") && strings.Contains(text, "authentication fail")
}

// connectionLost says whether err comes from the network and not from what was said on it.
func connectionLost(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// quote bounds foreign text and keeps its control characters off the terminal.
func quote(s string) string {
	if len(s) > quoteMax {
		s = s[:quoteMax] + "..."
	}
	return fmt.Sprintf("%q", s)
}
