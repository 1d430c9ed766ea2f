package archive

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	lockName  = "archive.lock"
	lockDelay = 250 * time.Millisecond // before the next try
)

// errHeld is what lockFile returns where another holds the lock.
var errHeld = errors.New("held")

// takeLock keeps every other writer out of dir until the returned file is closed, or until this process ends in whatever
// way. waiting as in Options.
func takeLock(ctx context.Context, dir string, waiting func(holder string)) (*os.File, error) {
	const step = "lock archive"
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fault.New(fault.Infrastructure, step, "%w", err)
	}
	told := false
	for {
		err := lockFile(f)
		if err == nil {
			break
		}
		who := holder(f)
		if !errors.Is(err, errHeld) {
			return nil, errors.Join(fault.New(fault.Infrastructure, step, "%s: %w", dir, err), f.Close())
		}
		if waiting == nil {
			return nil, errors.Join(fault.New(fault.Infrastructure, step, "%s: %s has it: %w; stop it, or read without writing", dir, who, ErrLocked), f.Close())
		}
		if !told {
			waiting(who)
			told = true
		}
		t := time.NewTimer(lockDelay)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, errors.Join(fault.New(fault.Infrastructure, step, "%s: %s has it: %w: %w", dir, who, ErrLocked, ctx.Err()), f.Close())
		}
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(fault.New(fault.Infrastructure, step, "%w", err), f.Close())
	}
	return f, nil
}

// holder names the process that holds the lock, as far as the file tells.
func holder(f io.ReaderAt) string {
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil && !errors.Is(err, io.EOF) || convErr != nil {
		return "another process"
	}
	return "process " + strconv.Itoa(pid)
}
