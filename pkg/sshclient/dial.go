package sshclient

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// clientVersion names us in routers' logs.
const clientVersion = "SSH-2.0-confhaul"

// Dial connects to t and logs in. ctx ends the connection for as long as it is open, not only while Dial runs. trace,
// where not nil, hears of the steps dial, handshake and login as they end, failed ones too.
//
// Errors are faults: unreachable, timeout, negotiation, hostkey, auth, and infrastructure for a private key that cannot
// be read or a machine out of sockets. Where ctx ended, the error wraps its cause and keeps that one's kind. A fault of
// kind hostkey has a *HostKeyError in its chain.
func Dial(ctx context.Context, t Target, trace func(backup.Step)) (*Conn, error) {
	t.Timeouts = t.Timeouts.orDefault()
	auth, method, err := t.login()
	if err != nil {
		return nil, err
	}
	if trace == nil {
		trace = func(backup.Step) {}
	}
	if t.Grow == nil {
		t.Grow = double
	}
	start := time.Now()
	sock, err := connect(ctx, t)
	if err != nil {
		trace(backup.Step{Name: stepDial, Took: time.Since(start), Detail: err.Error()})
		return nil, err
	}
	trace(backup.Step{Name: stepDial, Took: time.Since(start), Detail: sock.RemoteAddr().String()})

	h := &handshake{target: t, method: method, start: time.Now(), watch: newWatch(ctx, sock)}
	c, err := h.run(sock, auth)
	h.report(trace, c, err)
	if err != nil {
		h.watch.end()
		_ = sock.Close() // the error to tell is err
		return nil, err
	}
	return c, nil
}

func connect(ctx context.Context, t Target) (*socket, error) {
	if t.Dial != nil {
		conn, err := t.Dial(ctx, t.endpoint())
		if err != nil {
			return nil, err
		}
		return &socket{Conn: conn}, nil
	}
	late := fault.New(fault.Timeout, stepDial, "%s: no answer within %s; check address, route and firewall", t.endpoint(), t.Timeouts.Dial)
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeouts.Dial, late)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.endpoint())
	if err == nil {
		return &socket{Conn: conn}, nil
	}
	if cause := ended(ctx, stepDial); cause != nil {
		return nil, cause
	}
	return nil, dialFault(t.endpoint(), err)
}

// handshake gathers what is learned on the way to a login. The library calls it back from goroutines of its own, and
// again at each key renewal.
type handshake struct {
	target Target
	method string
	start  time.Time
	watch  *watch

	mu     sync.Mutex
	key    *device.HostKey // the first one shown and accepted
	agreed ssh.NegotiatedAlgorithms
	offers []string // login methods that the router offers the user
}

func (h *handshake) run(sock *socket, auth ssh.AuthMethod) (*Conn, error) {
	h.watch.step(stepHandshake, "no host key", h.target.Timeouts.Handshake)
	conf := &ssh.ClientConfig{
		Config:            algorithmConfig(),
		User:              h.target.Username,
		Auth:              []ssh.AuthMethod{auth},
		AuthCallback:      h.seeOffers,
		HostKeyCallback:   h.checkKey,
		HostKeyAlgorithms: hostKeyAlgorithms(h.knownType()),
		ClientVersion:     clientVersion,
	}
	client, channels, requests, err := ssh.NewClientConn(sock, h.target.endpoint(), conf)
	if err != nil {
		step := h.step()
		if cause := h.watch.err(step); cause != nil {
			return nil, cause
		}
		return nil, h.fault(step, err)
	}
	h.watch.rest()
	c := &Conn{
		sock:     sock,
		watch:    h.watch,
		client:   client,
		timeouts: h.target.Timeouts,
		grow:     h.target.Grow,
		key:      *h.key,
		done:     make(chan struct{}),
	}
	if m, ok := client.(ssh.AlgorithmsConnMetadata); ok {
		c.agreed = m.Algorithms()
	}
	c.serve(channels, requests)
	return c, nil
}

func (h *handshake) knownType() string {
	if h.target.HostKey == nil {
		return ""
	}
	return h.target.HostKey.Type
}

// checkKey is the library's callback for the router's key; from here on the login's deadline runs.
func (h *handshake) checkKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	seen := hostKey(key, device.HostKeyFirstUse)
	seen.SeenAt = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.target.HostKey
	if h.key != nil {
		known = h.key // a key renewal: still the same router
	}
	if known != nil && !sameKey(*known, seen) {
		return fault.New(fault.HostKey, stepHandshake, "%w", &HostKeyError{Known: *known, Seen: seen})
	}
	if h.key == nil {
		h.key = &seen
		h.watch.step(stepLogin, "no answer", h.target.Timeouts.Login)
	}
	return nil
}

// hostKey is key as the record has it.
func hostKey(key ssh.PublicKey, source device.HostKeySource) device.HostKey {
	return device.HostKey{Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), Key: key.Marshal(), Source: source}
}

// sameKey compares the keys, or the fingerprints where the record has no more than that.
func sameKey(known, seen device.HostKey) bool {
	if len(known.Key) == 0 {
		return known.Fingerprint == seen.Fingerprint
	}
	return bytes.Equal(known.Key, seen.Key)
}

// seeOffers is the library's callback before each login attempt. It chooses nothing.
func (h *handshake) seeOffers(a *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agreed = a.Algorithms
	h.offers = slices.Clone(a.AllowedMethods)
	return nil, nil
}

// step is the one under way: login from the moment the host key was accepted.
func (h *handshake) step() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.key == nil {
		return stepHandshake
	}
	return stepLogin
}

func (h *handshake) fault(step string, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if step == stepHandshake {
		return handshakeFault(h.target.endpoint(), err)
	}
	return loginFault(login{user: h.target.Username, method: h.method, offers: h.offers}, err)
}

// report traces handshake and login, once both are over.
func (h *handshake) report(trace func(backup.Step), c *Conn, err error) {
	if h.step() == stepHandshake {
		trace(backup.Step{Name: stepHandshake, Took: time.Since(h.start), Detail: err.Error()})
		return
	}
	h.mu.Lock()
	a, key := h.agreed, *h.key
	h.mu.Unlock()
	if c != nil {
		a = c.agreed
	}
	words := []string{a.KeyExchange, a.Read.Cipher, a.Read.MAC, a.HostKey, key.Type + " " + key.Fingerprint}
	words = slices.DeleteFunc(words, func(s string) bool { return s == "" })
	trace(backup.Step{Name: stepHandshake, Took: key.SeenAt.Sub(h.start), Detail: strings.Join(words, ", ")})

	detail := h.target.Username + " by " + h.method
	if err != nil {
		detail = err.Error()
	}
	trace(backup.Step{Name: stepLogin, Took: time.Since(key.SeenAt), Detail: detail})
}
