//go:build unix

package transport

import (
	"io/fs"
	"syscall"
)

// ownerOf is the user and the group of a file; -1 where they are not known.
func ownerOf(info fs.FileInfo) (owner, group int) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid), int(s.Gid)
	}
	return -1, -1
}
