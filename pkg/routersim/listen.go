package routersim

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

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
	want, port := !r.down && r.habits.fault != Refused, r.port
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
