//go:build !linux

package bench

import (
	"os"
	"syscall"
)

var stopSignal = os.Kill

func childAttributes() *syscall.SysProcAttr { return nil }
