package archive

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/filelock"
)

const lockName = "archive.lock"

// takeLock keeps every other writer out of dir until release, or until this process ends. waiting as in Options.
func takeLock(ctx context.Context, dir string, waiting func(holder string)) (release func(), err error) {
	const step = "lock archive"
	path := filepath.Join(dir, lockName)
	if waiting != nil {
		release, err = filelock.Wait(ctx, path, waiting)
	} else {
		release, err = filelock.Take(path)
	}
	if _, held := errors.AsType[*filelock.HeldError](err); held {
		return nil, fault.New(fault.Infrastructure, step, "%s: %w: %w; stop it, or read without writing", dir, ErrLocked, err)
	} else if err != nil {
		return nil, fault.New(fault.Infrastructure, step, "%w", err)
	}
	return release, nil
}
