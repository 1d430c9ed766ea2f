package routersim

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// TestNetwork has routers share one listener: each has its own address, host key and export, and can be down alone.
func TestNetwork(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Devices: 5, Seed: 9, Listen: "127.77.1.0/24", Versions: []string{"7.20.2"}})
	keys, exports := map[string]bool{}, map[string]bool{}
	for i, r := range f.Routers() {
		if want := "127.77.1." + string(rune('1'+i)); r.Address() != want || r.Port() != f.Routers()[0].Port() {
			t.Errorf("%s is at %s, want %s", r.ID(), endpoint(r), want)
		}
		c := password(testPassword)
		c.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if ssh.FingerprintSHA256(key) != r.HostKeyFingerprint() {
				t.Errorf("%s presents the key of another", r.ID())
			}
			return nil
		}
		if _, err := dial(t, r, c); err != nil {
			t.Fatal(err)
		}
		out := settled(run(t, r, whole(r)))
		if out != settled(r.Export()) {
			t.Errorf("%s prints another export than its own", r.ID())
		}
		keys[r.HostKeyFingerprint()], exports[out] = true, true
	}
	if len(keys) != 5 || len(exports) != 5 {
		t.Errorf("%d host keys and %d exports of 5 routers", len(keys), len(exports))
	}
	refuses(t, &Router{fleet: f, profile: profile{n: 6}}) // an address that nobody has
	r := f.Routers()[2]
	if err := r.SetDown(true); err != nil {
		t.Fatal(err)
	}
	refuses(t, r)
	if err := r.SetDown(false); err != nil {
		t.Fatal(err)
	}
	if err := r.SetFault(Refused); err != nil {
		t.Fatal(err)
	}
	refuses(t, r)
	for _, s := range f.Sessions() {
		if s.Login != LoginOK {
			t.Errorf("a session that nobody had: %+v", s)
		}
	}
	if err := r.SetFault(NoFault); err != nil {
		t.Fatal(err)
	}
	if out := run(t, r, `:put "up"`); out != "up\r\n" {
		t.Errorf("up again: %q", out)
	}
}

// refuses wants the connection to a router to be reset.
func refuses(t *testing.T, r *Router) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", endpoint(r), testTimeout)
	if err == nil {
		defer func() { _ = conn.Close() }()
		if err = conn.SetDeadline(time.Now().Add(testTimeout)); err == nil {
			_, err = io.ReadAll(conn)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("%s: %v", endpoint(r), err)
	}
}

// TestNetworkStaysHere: other machines do not reach the listener, which takes every address.
func TestNetworkStaysHere(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Listen: "127.77.2.0/24", Versions: []string{"7.20.2"}})
	raw, err := f.shared.Listener.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var device string
	cerr := raw.Control(func(fd uintptr) { device, err = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE) })
	if cerr != nil || err != nil || device != "lo" {
		t.Errorf("the listener is on device %q: %v, %v", device, cerr, err)
	}
}

// TestLargeFleet has more routers than a process can have descriptors, and keeps nothing of what they print.
func TestLargeFleet(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Devices: keepMax + 1, Seed: 9, Versions: []string{"7.20.2"}})
	r := f.Routers()[keepMax]
	if r.Address() != "127.16.78.33" || f.Router("router-20001") != r {
		t.Errorf("the last router is %s at %s", r.ID(), r.Address())
	}
	export, key := r.Export(), r.HostKeyFingerprint()
	if out := run(t, r, whole(r)); settled(out) != settled(export) || r.Export() != export {
		t.Error("a router prints another export each time")
	}
	if r.HostKeyFingerprint() != key {
		t.Error("a router has another host key each time")
	}
	if r.bodies != nil || r.signers != nil {
		t.Error("it keeps what it has made")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	network := netip.MustParsePrefix(DefaultNetwork)
	for n, want := range map[int]string{1: "127.16.0.1", 255: "127.16.0.255", 256: "127.16.1.0", DevicesMax: "127.31.66.64"} {
		a := addressIn(network, n)
		if a.String() != want || placeIn(network, a) != n {
			t.Errorf("%d is at %s and back %d, want %s", n, a, placeIn(network, a), want)
		}
	}
	for _, other := range []string{"127.0.0.1", "127.32.0.1", "::1"} {
		if n := placeIn(network, netip.MustParseAddr(other)); n != 0 {
			t.Errorf("%s is %d", other, n)
		}
	}
}
