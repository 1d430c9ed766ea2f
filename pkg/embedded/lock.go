package embedded

import (
	"fmt"
	"path/filepath"

	"github.com/confhaul/confhaul/pkg/filelock"
)

const lockName = "lock"

// Lock makes dir where it is missing and keeps every other process out of it until unlock, or until this process ends in
// whatever way. A run file found inside is left over and removed. The error names the directory and the process inside.
func Lock(dir string) (unlock func(), err error) {
	if dir, err = makeDir(dir); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	unlock, err = filelock.Take(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	if err := RemoveRun(dir); err != nil {
		unlock()
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	return unlock, nil
}
