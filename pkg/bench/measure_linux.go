package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// UsageOf is what the process has used until now. Its CPU time is exact, where /proc/PID/stat counts in steps of 10 ms.
func UsageOf(pid int) (Usage, error) {
	cpu, err := cpuOf(pid)
	if err != nil {
		return Usage{}, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPU: cpu}
	if u.RSS, err = statusBytes(status, "VmRSS:"); err != nil {
		return Usage{}, err
	}
	u.Peak, err = statusBytes(status, "VmHWM:")
	return u, err
}

// cpuOf reads the process' own clock, whose number is made of the process id as clock_getcpuclockid(3) does it.
func cpuOf(pid int) (time.Duration, error) {
	const scheduled = 2 // the clock of what the scheduler gave it, user and system
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// statusBytes reads a line such as "VmHWM:  1234 kB".
func statusBytes(status []byte, name string) (int64, error) {
	for line := range bytes.Lines(status) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == name && string(f[2]) == "kB" {
			kb, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("the process' status has no %s", name)
}
