//go:build unix && !linux

package chaos

import "syscall"

// childAttributes: an interrupt typed at the terminal reaches us alone, so that we end the children. These systems have no
// signal for the death of a parent.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
