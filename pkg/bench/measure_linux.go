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

// MachineNow looks at the machine.
func MachineNow() (Machine, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Machine{}, err
	}
	return machineOf(stat)
}

// machineOf reads the first line of /proc/stat, "cpu user nice system idle iowait irq softirq steal ...", in hundredths of a
// second. What follows steal is in user already.
func machineOf(stat []byte) (m Machine, err error) {
	const tick, idle, iowait, last = 10 * time.Millisecond, 4, 5, 8
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) <= last || string(f[0]) != "cpu" {
		return m, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for i := 1; i <= last; i++ {
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return m, fmt.Errorf("read /proc/stat: %w", err)
		}
		m.All += time.Duration(n) * tick
		if i == idle || i == iowait {
			m.Idle += time.Duration(n) * tick
		}
	}
	return m, nil
}
