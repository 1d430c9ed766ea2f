//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package embedded

import (
	"fmt"
	"os"
	"runtime"
)

func lockFile(*os.File) error {
	return fmt.Errorf("file locks are not supported on %s: run the processes apart, with a Redis and a NATS of their own", runtime.GOOS)
}

func alive(int) bool { return true }
