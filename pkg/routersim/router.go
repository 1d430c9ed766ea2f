package routersim

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/secret"
)

// hugeSize is the export of a router with the fault Huge, in bytes.
const hugeSize = 4_000_000

// Router is one simulated router. Its methods may be called at any time; a change shows in the next connection or export.
type Router struct {
	fleet    *Fleet
	profile  profile
	username string
	address  string

	listening sync.Mutex // held while the listener is opened or closed; taken before mu
	listener  *listener
	retired   bool

	mu         sync.Mutex
	port       int
	down       bool
	fault      Fault
	delay      time.Duration
	password   secret.Text
	keys       []ssh.PublicKey
	strong     bool
	changes    int
	runs       uint64        // exports printed
	bodies     map[bool]body // of the current configuration, by whether secrets show
	generation int           // of the host key
	signer     ssh.Signer    // nil until it is needed
}

func newRouter(f *Fleet, o Options, p profile) *Router {
	return &Router{fleet: f, profile: p, username: o.Username, password: o.Password, address: o.Listen}
}

// ID is the device id.
func (r *Router) ID() string { return r.profile.id }

// Address is the IP address the router listens on.
func (r *Router) Address() string { return r.address }

// Port is the TCP port; it stays the same while the router is down.
func (r *Router) Port() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.port
}

// Version is the RouterOS release, as in 7.20.2.
func (r *Router) Version() string { return r.profile.version }

// Identity is the name in /system identity.
func (r *Router) Identity() string { return r.profile.identity() }

// HostKeyFingerprint is the SHA256 fingerprint of the current host key, as OpenSSH prints it.
func (r *Router) HostKeyFingerprint() string { return ssh.FingerprintSHA256(r.hostKey().PublicKey()) }

func (r *Router) hostKey() ssh.Signer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.signer == nil {
		r.signer = hostKey(r.profile, r.generation)
	}
	return r.signer
}

// RotateHostKey gives the router another host key, also derived from the seed. A restarted fleet has the first one again.
func (r *Router) RotateHostKey() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation++
	r.signer = nil
}

// SetFault orders a fault, or NoFault. Only Refused and its end can fail, as SetDown can.
func (r *Router) SetFault(f Fault) error {
	if f == HostKeyChanged {
		r.RotateHostKey()
	}
	r.mu.Lock()
	if (f == Huge) != (r.fault == Huge) {
		r.bodies = nil
	}
	r.fault = f
	r.mu.Unlock()
	return r.listen()
}

// Fault is the fault in force.
func (r *Router) Fault() Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

// SetDown closes the listener or opens it again on the same port; open connections go on. Opening fails where another
// process took the port meanwhile.
func (r *Router) SetDown(down bool) error {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	return r.listen()
}

// SetDelay makes the router wait before the first byte of every answer to a command.
func (r *Router) SetDelay(beforeFirstByte time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = beforeFirstByte
}

// SetPassword changes the user's password; an empty one refuses every password.
func (r *Router) SetPassword(password secret.Text) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.password = password
}

// AuthorizeKey lets a public key in, given as a line of an authorized_keys file. As on a real router, a user with a key
// cannot log in by password any more.
func (r *Router) AuthorizeKey(line string) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return fmt.Errorf("authorize key on %s: %w", r.ID(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = append(r.keys, key)
	return nil
}

// SetStrongCrypto leaves only the algorithms of strong-crypto=yes: diffie-hellman-group-exchange-sha256, aes192-ctr and
// aes256-ctr, hmac-sha2-256.
func (r *Router) SetStrongCrypto(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strong = on
}

// Change makes one small change of the configuration: the next one in a fixed order.
func (r *Router) Change() { r.change(1) }

// Revert takes the last Change back; the text is the one before it, byte for byte. Without a Change it does nothing.
func (r *Router) Revert() { r.change(-1) }

func (r *Router) change(by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = max(0, r.changes+by)
	r.bodies = nil
}

// exportedAt is the date in every Export.
var exportedAt = time.Date(2026, 9, 25, 10, 10, 52, 0, time.UTC)

// Export is the whole current export with its secrets, as it stands on the wire, but for what comes and goes: its date is
// always 2026-09-25 10:10:52 and no status comment shows. Faults other than Huge do not show in it.
func (r *Router) Export() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.profile.header(exportedAt) + r.body(true).text
}

// print is the export of one run.
func (r *Router) print(show bool, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs++
	return r.profile.header(now) + r.body(show).flicker(r.runs)
}

// body renders the configuration once per change; r.mu is held.
func (r *Router) body(show bool) body {
	if b, ok := r.bodies[show]; ok {
		return b
	}
	p := r.profile
	if r.fault == Huge {
		p.size = hugeSize
	}
	if r.bodies == nil {
		r.bodies = make(map[bool]body, 2)
	}
	b := render(configuration(p, r.changes), show)
	r.bodies[show] = b
	return b
}

// listener is an open TCP port and its accept loop.
type listener struct {
	net.Listener
	done chan struct{} // closed when the accept loop has ended
}

// listen brings the listener into the state that down and fault ask for.
func (r *Router) listen() error {
	r.listening.Lock()
	defer r.listening.Unlock()
	r.mu.Lock()
	want, port := !r.down && r.fault != Refused, r.port
	r.mu.Unlock()
	switch {
	case r.retired && want:
		return fmt.Errorf("listen as %s: %w", r.ID(), errClosed)
	case want == (r.listener != nil):
		return nil
	case !want:
		return r.unlisten()
	}
	l, err := net.Listen("tcp", net.JoinHostPort(r.address, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listen as %s: %w", r.ID(), err)
	}
	r.mu.Lock()
	r.port = l.Addr().(*net.TCPAddr).Port
	r.mu.Unlock()
	r.listener = &listener{Listener: l, done: make(chan struct{})}
	own := r.listener
	r.fleet.running.Go(func() { r.accept(own) })
	return nil
}

// unlisten closes the listener and waits for its accept loop; r.listening is held.
func (r *Router) unlisten() error {
	if r.listener == nil {
		return nil
	}
	err := r.listener.Close()
	<-r.listener.done
	r.listener = nil
	if err != nil && !errors.Is(err, net.ErrClosed) { // the end of the fleet's context closes it too
		return fmt.Errorf("close listener of %s: %w", r.ID(), err)
	}
	return nil
}

// retire closes the listener for good.
func (r *Router) retire() error {
	r.listening.Lock()
	defer r.listening.Unlock()
	r.retired = true
	return r.unlisten()
}
