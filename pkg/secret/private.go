package secret

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
)

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
