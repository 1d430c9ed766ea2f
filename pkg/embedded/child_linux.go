package embedded

import "syscall"

const stopSignal = syscall.SIGTERM

// childAttributes: an interrupt typed at the terminal reaches us alone, so that we end the child last; our death, however
// sudden, is the child's.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
