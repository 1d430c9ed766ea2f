package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

func testRun() Run {
	return Run{
		PID: os.Getpid(), Redis: secret.NewURL("redis://:token@127.0.0.1:6379/0"), NATS: secret.NewURL("nats://token@127.0.0.1:4222"),
		Dashboard: "http://127.0.0.1:8080", Listen: "127.0.0.1:9090", Started: time.Date(2026, 10, 17, 10, 0, 0, 0, time.UTC),
	}
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm()
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(t, dir); got != 0o700 {
		t.Errorf("directory mode: got %o", got)
	}
	_, err = Lock(dir)
	if err == nil {
		t.Fatal("locked twice")
	}
	for _, want := range []string{dir, fmt.Sprintf("process %d", os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	unlock()
	unlock, err = Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestLockRemovesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := WriteRun(dir, testRun()); err != nil {
		t.Fatal(err)
	}
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := ReadRun(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := testRun()
	for range 2 { // the second replaces the first
		if err := WriteRun(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadRun(dir)
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if m := mode(t, filepath.Join(dir, "run.json")); m != 0o600 {
		t.Errorf("mode: got %o", m)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left over: %v, %v", names, err)
	}
	if text := fmt.Sprintf("%+v %#v", got, got); strings.Contains(text, "token") {
		t.Errorf("the token shows: %s", text)
	}
	for range 2 {
		if err := RemoveRun(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadRun(dir); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), dir) {
		t.Errorf("after RemoveRun: got %v", err)
	}
}

func TestRunOfADeadProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := testRun()
	r.PID = deadPID(t)
	if err := WriteRun(dir, r); err != nil {
		t.Fatal(err)
	}
	_, err := ReadRun(dir)
	if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), fmt.Sprintf("process %d has ended", r.PID)) {
		t.Errorf("got %v", err)
	}
}

func TestRunThatIsDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRun(dir); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestWriteRunWithoutDirectory(t *testing.T) {
	t.Parallel()
	if err := WriteRun(filepath.Join(t.TempDir(), "missing"), testRun()); err == nil {
		t.Error("written into nothing")
	}
}
