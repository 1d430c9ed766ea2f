//go:build linux || darwin || freebsd || netbsd || openbsd

package embedded

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock or returns errLocked at once. The lock goes with the open file, so with the process too.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// alive says whether a process of that id exists, whoever owns it.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
