// Package filelock keeps all processes but one away from something, by a lock on a file. The lock goes with its process, in
// whatever way that ends.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// HeldError says that another process has the lock.
type HeldError struct{ Holder string } // as far as the file tells: "process 123"

func (e *HeldError) Error() string { return e.Holder + " has it" }

// errHeld is what lockFile returns where another has the lock.
var errHeld = errors.New("held")

const (
	fileMode  = 0o600
	waitDelay = 250 * time.Millisecond // before the next try
)

// Take locks the file at path, which is made where it is missing and stays when the lock is released: if it went, a process
// that has it open and one that makes it anew would both hold a lock. Where another has it the error is a HeldError. Release
// may be called once.
func Take(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); errors.Is(err, errHeld) {
		held := &HeldError{holder(f)}
		return nil, errors.Join(held, f.Close())
	} else if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // the lock is gone with the descriptor, whatever Close says
}

// Wait is Take, again and again until the lock is free or ctx ends; waiting is told once who has it.
func Wait(ctx context.Context, path string, waiting func(holder string)) (release func(), err error) {
	for told := false; ; told = true {
		release, err := Take(path)
		held, ok := errors.AsType[*HeldError](err)
		if !ok {
			return release, err
		}
		if !told {
			waiting(held.Holder)
		}
		t := time.NewTimer(waitDelay)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
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
