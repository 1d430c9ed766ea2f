//go:build unix

package secret

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSameFile sees a file that was given to another group, whose bytes and mode are as they were.
func TestSameFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	look := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := look()
	if !SameFile(before, look()) || SameFile(before, nil) || !SameFile(nil, nil) {
		t.Error("a file is not itself, or no file is one")
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, gid := range append(groups, 12345) {
		if _, mine := owner(before); gid == mine || os.Chown(path, -1, gid) != nil {
			continue // root may give it to any group, others to their own
		}
		if SameFile(before, look()) {
			t.Errorf("given to the group %d it is the same", gid)
		}
		return
	}
}

// TestReadFile refuses what would be waited for, and what is too large.
func TestReadFile(t *testing.T) {
	t.Parallel()
	pipe, file := filepath.Join(t.TempDir(), "pipe"), filepath.Join(t.TempDir(), "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("password"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(file, 8); err != nil || string(b) != "password" {
		t.Errorf("%q, %v", b, err)
	}
	for path, want := range map[string]string{pipe: ": not a regular file", file: ": the file is over 7 bytes"} {
		if _, err := ReadFile(path, 7); err == nil || !strings.HasSuffix(err.Error(), path+want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
