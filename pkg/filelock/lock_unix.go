//go:build linux || darwin || freebsd || netbsd || openbsd

package filelock

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock or returns errHeld at once. The lock goes with the open file, so with the process too.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errHeld
	}
	return err
}
