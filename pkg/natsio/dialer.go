package natsio

import (
	"context"
	"net"
	"sync"
)

// dialer lets a context end the first dial and handshake, which nats.go does not offer.
type dialer struct {
	mu   sync.Mutex
	ctx  context.Context // nil once connected
	stop func() bool     // disarms the watch over the last connection
}

// Dial is what nats.go calls for each try.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	first := d.ctx
	d.mu.Unlock()
	ctx := first
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil || first == nil {
		return conn, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop() // the connection before this one is dead already
	}
	d.stop = context.AfterFunc(first, func() { _ = conn.Close() }) // its reader reports the failure
	return conn, nil
}

// release lets the connection live on after the first context.
func (d *dialer) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
	d.ctx, d.stop = nil, nil
}
