package secret

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPermitted(t *testing.T) {
	t.Parallel()
	const user, own, fsGroup, users = 1000, 1000, 2000, 100
	groups := []int{own, fsGroup, users}
	for _, c := range []struct {
		mode     fs.FileMode
		uid, gid int
		want     bool
		what     string
	}{
		{0o600, user, own, true, "the user's own"},
		{0o400, user, own, true, "read-only"},
		{0o400, 0, 0, true, "root's, read with the rights of root"},
		{0o440, 0, 0, true, "systemd's: the group's bits are the mask of an ACL"},
		{0o440, 0, fsGroup, true, "a secret volume of Kubernetes"},
		{0o640, 0, fsGroup, true, "the same with defaultMode 0640"},
		{0o440, 0, 3000, false, "a group that root chose for somebody else"},
		{0o640, user, users, false, "a group that many are in"},
		{0o640, user, own, false, "a group that others can be put in"},
		{0o440, 1001, own, false, "another user's"},
		{0o644, 0, 0, false, "a secret volume of Kubernetes as it is without defaultMode"},
		{0o444, 0, fsGroup, false, "everybody reads"},
		{0o602, user, own, false, "everybody writes"},
		{0o601, user, own, false, "everybody executes"},
		{0o660, 0, fsGroup, false, "the group writes"},
		{0o450, 0, fsGroup, false, "the group executes"},
		{0o640, -1, -1, false, "nobody knows whose"},
	} {
		if got := permitted(c.mode, c.uid, c.gid, groups); got != c.want {
			t.Errorf("%s (%04o %d:%d): %t", c.what, c.mode, c.uid, c.gid, got)
		}
	}
}

func TestCheckPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "password")
	for mode, want := range map[fs.FileMode]string{
		0o400: "", 0o600: "", 0o604: "others can use it (mode 0604): chmod 600 " + path, 0o620: "others can use it (mode 0620): chmod 600 " + path,
	} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		switch err := CheckPrivate(path, info); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)):
			t.Errorf("%04o: %v, want %q", mode, err, want)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
