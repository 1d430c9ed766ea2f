package routersim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// listener is an open TCP port and its accept loop.
type listener struct {
	net.Listener
	done chan struct{} // closed when the accept loop has ended
}

// open runs the accept loop of a new listener; to says whose each connection is, and nil resets it.
func (f *Fleet) open(l net.Listener, to func(net.Conn) *Router) *listener {
	own := &listener{Listener: l, done: make(chan struct{})}
	f.running.Go(func() { f.accept(own, to) })
	return own
}

// shut closes the listener and waits for its accept loop.
func (l *listener) shut() error {
	err := l.Close()
	<-l.done
	if err != nil && !errors.Is(err, net.ErrClosed) { // the end of the fleet's context closes it too
		return fmt.Errorf("close listener at %s: %w", l.Addr(), err)
	}
	return nil
}

// listenForAll opens the one listener of a fleet that has a network, on the loopback device, so that nothing outside can reach it.
func (f *Fleet) listenForAll() error {
	l, err := listenLoopback(f.ctx)
	if err != nil {
		return err
	}
	f.port = l.Addr().(*net.TCPAddr).Port
	f.shared = f.open(l, f.called)
	return nil
}

// called is the router whose address the caller dialled, unless it is down.
func (f *Fleet) called(conn net.Conn) *Router {
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return nil
	}
	n := placeIn(f.network, local.Addr().Unmap())
	if n < 1 || n > len(f.routers) {
		return nil
	}
	if r := f.routers[n-1]; r.up() {
		return r
	}
	return nil
}

// addressIn is the address of router n in an IPv4 network, whose first address nobody has.
func addressIn(network netip.Prefix, n int) netip.Addr {
	first := network.Masked().Addr().As4()
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(first[:])+uint32(n))
	return netip.AddrFrom4(b)
}

// placeIn takes the address back to n; 0 is none.
func placeIn(network netip.Prefix, a netip.Addr) int {
	if !network.Contains(a) {
		return 0
	}
	first, own := network.Masked().Addr().As4(), a.As4()
	return int(binary.BigEndian.Uint32(own[:]) - binary.BigEndian.Uint32(first[:]))
}

// up says whether the router takes connections.
func (r *Router) up() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.down && r.habits.fault != Refused
}

// listen brings the router's own listener, if it has one, into the state that down and fault ask for.
func (r *Router) listen() error {
	r.listening.Lock()
	defer r.listening.Unlock()
	want := r.up()
	switch {
	case r.retired && want:
		return fmt.Errorf("listen as %s: %w", r.ID(), errClosed)
	case r.fleet.shared != nil, want == (r.listener != nil):
		return nil
	case !want:
		return r.unlisten()
	}
	l, err := net.Listen("tcp", net.JoinHostPort(r.Address(), strconv.Itoa(r.Port())))
	if err != nil {
		return fmt.Errorf("listen as %s: %w", r.ID(), err)
	}
	r.mu.Lock()
	r.port = l.Addr().(*net.TCPAddr).Port
	r.mu.Unlock()
	r.listener = r.fleet.open(l, func(net.Conn) *Router { return r })
	return nil
}

// unlisten closes the router's own listener; r.listening is held.
func (r *Router) unlisten() error {
	if r.listener == nil {
		return nil
	}
	err := r.listener.shut()
	r.listener = nil
	return err
}

// retire closes the router for good.
func (r *Router) retire() error {
	r.listening.Lock()
	defer r.listening.Unlock()
	r.retired = true
	return r.unlisten()
}
