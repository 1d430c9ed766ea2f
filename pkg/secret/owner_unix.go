//go:build unix

package secret

import (
	"io/fs"
	"syscall"
)

// owner is who a file belongs to; -1 where that is not known.
func owner(info fs.FileInfo) (uid, gid int) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid), int(s.Gid)
	}
	return -1, -1
}
