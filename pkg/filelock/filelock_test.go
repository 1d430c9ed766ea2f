package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != fileMode {
		t.Errorf("the file: %v, %v", info, err)
	}
	me := fmt.Sprint("process ", os.Getpid())
	if _, err := Take(path); err == nil || err.Error() != me+" has it" {
		t.Errorf("a second one: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Wait(ctx, path, func(string) { cancel() })
	if held, ok := errors.AsType[*HeldError](err); !ok || held.Holder != me || !errors.Is(err, context.Canceled) {
		t.Errorf("one that gives up: %v", err)
	}
	again, err := Wait(t.Context(), path, func(string) { release() })
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
	if err := os.WriteFile(path, []byte("no number"), fileMode); err != nil {
		t.Fatal(err)
	}
	if release, err = Take(path); err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := Take(filepath.Join(path, "no", "place")); err == nil {
		t.Error("taken where there is no directory")
	}
}

func TestWaitForItself(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(t.Context(), waitDelay+waitDelay/2, errors.New("had enough"))
	defer cancel()
	told := 0
	began := time.Now()
	if _, err := Wait(ctx, path, func(string) { told++ }); err == nil || told != 1 || time.Since(began) < waitDelay {
		t.Errorf("told %d times, %v", told, err)
	}
}
