package routersim

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/secret"
)

// hugeSize is the export of a router with the fault Huge, in bytes.
const hugeSize = 4_000_000

// Router is one simulated router. Its methods may be called at any time; a change shows in the next connection or export.
type Router struct {
	fleet     *Fleet
	profile   profile
	listening sync.Mutex // held while the listener is opened or closed; taken before mu
	listener  *listener
	retired   bool

	flash flash
	door  door

	mu         sync.Mutex
	port       int
	down       bool
	habits     habits
	password   secret.Text
	keys       []ssh.PublicKey
	changes    int
	runs       uint64                // exports printed
	bodies     map[view]body         // of the current configuration
	generation int                   // of the host keys
	signers    map[string]ssh.Signer // of the generation, by type, as far as they were needed
}

// view is a way to print one configuration.
type view struct {
	show  bool // the secrets
	width int
}

// bodiesMax bounds the views that are kept.
const bodiesMax = 6

// defaultPolicies are the same slice for all, which nobody changes in place.
var defaultPolicies = []string{PolicySSH, PolicyRead, PolicySensitive}

func newRouter(f *Fleet, o Options, p profile) *Router {
	return &Router{fleet: f, profile: p, password: o.Password, habits: habits{width: WidthDefault, policies: defaultPolicies}}
}

// ID is the device id.
func (r *Router) ID() string { return r.profile.id }

// Address is the IP address the router listens on.
func (r *Router) Address() string {
	if r.fleet.network.IsValid() {
		return addressIn(r.fleet.network, r.profile.n).String()
	}
	return r.fleet.address
}

// Port is the TCP port; it stays the same while the router is down, and in a network it is that of all.
func (r *Router) Port() int {
	if r.fleet.network.IsValid() {
		return r.fleet.port
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.port
}

// Version is the RouterOS release, as in 7.20.2.
func (r *Router) Version() string { return r.profile.version }

// Identity is the name in /system identity.
func (r *Router) Identity() string { return r.profile.identity() }

// HostKeyFingerprint is the SHA256 fingerprint of the current host key, as OpenSSH prints it.
func (r *Router) HostKeyFingerprint() string {
	return ssh.FingerprintSHA256(r.hostKey(r.now().era).PublicKey())
}

func (r *Router) hostKey(e Era) ssh.Signer {
	keyType := e.keyType(r.profile)
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.signers[keyType]
	if !ok {
		s = hostKey(r.profile.seed, r.generation, keyType)
		if keyType != ssh.KeyAlgoED25519 || r.fleet.Keeps() { // an RSA key is worth its memory
			if r.signers == nil {
				r.signers = map[string]ssh.Signer{}
			}
			r.signers[keyType] = s
		}
	}
	return limited(s, e)
}

// RotateHostKey gives the router another host key, also derived from the seed. A restarted fleet has the first one again.
func (r *Router) RotateHostKey() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation++
	r.signers = nil
}

// SetFault orders a fault, or NoFault. Only Refused and its end can fail, as SetDown can.
func (r *Router) SetFault(f Fault) error {
	if f == HostKeyChanged {
		r.RotateHostKey()
	}
	r.mu.Lock()
	if (f == Huge) != (r.habits.fault == Huge) {
		r.bodies = nil
	}
	r.habits.fault = f
	r.mu.Unlock()
	return r.listen()
}

// Fault is the fault in force.
func (r *Router) Fault() Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.habits.fault
}

// SetDown closes the listener or opens it again on the same port; open connections go on. Opening fails where another
// process took the port meanwhile. A router that shares the listener of its fleet resets connections instead.
func (r *Router) SetDown(down bool) error {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	return r.listen()
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
// always 2026-09-25 10:10:52 and no volatile line shows. Faults other than Huge do not show in it, nor do policies.
func (r *Router) Export() string { return r.export(true, r.now().width) }

// ExportAt is Export wrapped at so many columns, as SetWidth takes them.
func (r *Router) ExportAt(columns int) string { return r.export(true, clampWidth(columns)) }

// ExportHidden is Export without the secrets.
func (r *Router) ExportHidden() string { return r.export(false, r.now().width) }

func (r *Router) export(show bool, width int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.profile.header(exportedAt) + r.body(view{show, width}).text
}

// print is the export of one run.
func (r *Router) print(v view, f Flicker, now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs++
	return r.profile.header(now) + r.body(v).flicker(r.runs, f)
}

// body renders the configuration, once per change and view where the fleet keeps what it has made; r.mu is held.
func (r *Router) body(v view) body {
	if b, ok := r.bodies[v]; ok {
		return b
	}
	p := r.profile
	if r.habits.fault == Huge {
		p.size = hugeSize
	}
	b := render(configuration(p, r.changes), v)
	if !r.fleet.Keeps() {
		return b
	}
	if r.bodies == nil || len(r.bodies) >= bodiesMax {
		r.bodies = make(map[view]body, 2)
	}
	r.bodies[v] = b
	return b
}
