package bench

import "syscall"

const stopSignal = syscall.SIGTERM

// childAttributes: an interrupt typed at the terminal reaches us alone, so that we end the children; our death, however
// sudden, is theirs.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
