package routersim

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenLoopback takes a free port of every address of the loopback device. A listener on an address of the device would do for
// that address alone, and one on no device would be open to other machines.
func listenLoopback(ctx context.Context) (net.Listener, error) {
	bind := func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), "lo") })
		return errors.Join(cerr, err)
	}
	return (&net.ListenConfig{Control: bind}).Listen(ctx, "tcp4", "0.0.0.0:0")
}
