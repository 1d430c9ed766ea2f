//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package filelock

import (
	"fmt"
	"os"
	"runtime"
)

func lockFile(*os.File) error {
	return fmt.Errorf("file locks are not supported on %s", runtime.GOOS)
}
