//go:build !linux

package routersim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
)

// listenLoopback is not possible on this system.
func listenLoopback(context.Context) (net.Listener, error) {
	return nil, fmt.Errorf("%w: on %s a fleet has at most %d routers, for one listener cannot serve many addresses; run it on Linux",
		errors.ErrUnsupported, runtime.GOOS, ownListenersMax)
}
