package embedded

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const lockName = "lock"

// errLocked is what lockFile returns where another holds the lock.
var errLocked = errors.New("locked")

// Lock makes dir where it is missing and keeps every other process out of it until unlock, or until this process ends in
// whatever way. A run file found inside is left over and removed. The error names the directory and the process inside.
func Lock(dir string) (unlock func(), err error) {
	if dir, err = makeDir(dir); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := take(f, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %w", err), f.Close())
	}
	// The file stays: if it went, a process that has it open and one that makes it anew would both hold a lock. An error
	// of Close changes nothing: the lock is gone with the descriptor.
	return func() { _ = f.Close() }, nil
}

// take locks the open file, writes our process id into it and removes what the last holder left.
func take(f *os.File, dir string) error {
	if err := lockFile(f); errors.Is(err, errLocked) {
		return fmt.Errorf("%s: %s is using it", dir, holder(f))
	} else if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return RemoveRun(dir)
}

// holder names the process that holds the lock, as far as the file tells.
func holder(f io.Reader) string {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || convErr != nil {
		return "another process"
	}
	return "process " + strconv.Itoa(pid)
}
