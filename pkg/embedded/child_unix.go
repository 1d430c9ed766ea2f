//go:build unix && !linux

package embedded

import "syscall"

const stopSignal = syscall.SIGTERM

// childAttributes: an interrupt typed at the terminal reaches us alone, so that we end the child last. These systems have
// no signal for the death of a parent.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
