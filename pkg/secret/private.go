package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// ReadFile reads a file of a secret that CheckPrivate does not refuse, of limit bytes at most.
func ReadFile(path string, limit int64) ([]byte, error) {
	refuse := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: "read", Path: path, Err: err} }
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe could wait for ever
		return refuse(errors.New("not a regular file"))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()      // nothing was written
	if info, err = f.Stat(); err != nil { // of what is read: another one may have taken its place
		return nil, err
	}
	if err := CheckPrivate(path, info); err != nil {
		return refuse(err)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return refuse(fmt.Errorf("the file is over %d bytes", limit))
	}
	return b, err
}

// CheckPrivate refuses a file of a secret that others than root and this process can use. path is how the operator calls it.
func CheckPrivate(path string, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil // then only the effective one counts
	}
	uid, gid := owner(info)
	if permitted(mode, uid, gid, append(groups, os.Getegid())) {
		return nil
	}
	return fmt.Errorf("others can use it (mode %04o): chmod 600 %s", mode, path)
}

// permitted says whether a file of a secret, of this mode and owner, is closed to all but root and a process of these groups.
// A group may read where root chose it: that is how Kubernetes hands a secret to a pod (root and fsGroup, 0440), and what
// systemd's look like (root and root, 0440, where the bits of the group are those of an ACL). What somebody else lets their
// group read, everyone in it can.
func permitted(mode fs.FileMode, uid, gid int, groups []int) bool {
	const groupReads, others = 0o040, 0o037 // others: and a group that writes
	switch {
	case mode&others != 0:
		return false
	case mode&groupReads == 0:
		return true
	}
	return uid == 0 && (gid == 0 || slices.Contains(groups, gid))
}

// SameFile says whether nothing suggests that a file was written, replaced, or given or opened to others; nil is no file.
func SameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	uidA, gidA := owner(a)
	uidB, gidB := owner(b)
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode() && uidA == uidB && gidA == gidB
}
