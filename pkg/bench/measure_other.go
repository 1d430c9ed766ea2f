//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"runtime"
)

// UsageOf is not possible on this system.
func UsageOf(int) (Usage, error) { return Usage{}, errNotHere }

// MachineNow is not possible on this system.
func MachineNow() (Machine, error) { return Machine{}, errNotHere }

var errNotHere = fmt.Errorf("%w: %s does not tell what another process has used; run it on Linux", errors.ErrUnsupported, runtime.GOOS)
