//go:build !unix

package embedded

import (
	"os"
	"syscall"
)

var stopSignal = os.Kill

func childAttributes() *syscall.SysProcAttr { return nil }
