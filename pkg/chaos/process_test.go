//go:build unix

package chaos

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// shell is a real process that runs a script; what it says of an end that nobody asked for comes on the channel.
func shell(t *testing.T, script string) (*process, <-chan string) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	died := make(chan string, 10)
	p := &process{role: Worker, program: sh, args: []string{"-c", script}, log: filepath.Join(t.TempDir(), "log"), died: func(why string) { died <- why }}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p, died
}

// gone says whether no process has the id any more.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestProcess(t *testing.T) {
	t.Parallel()
	p, died := shell(t, "while :; do sleep 1; done")
	for range 3 {
		pid := p.cmd.Process.Pid
		if _, err := p.signal(syscall.SIGSTOP, false); err != nil { // a stopped process is killed like any other
			t.Fatal(err)
		}
		if err := p.kill(); err != nil || !gone(pid) {
			t.Errorf("killed: %v", err)
		}
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	if late, err := p.terminate(t.Context(), time.Minute); late || err != nil {
		t.Errorf("late %v, %v", late, err)
	}
	p.close()
	if err := p.start(); err != nil || p.cmd != nil {
		t.Errorf("started after its close: %v", err)
	}
	if len(died) > 0 {
		t.Errorf("what we ended is said to have died: %s", <-died)
	}
}

func TestProcessDies(t *testing.T) {
	t.Parallel()
	p, died := shell(t, "exit 3")
	<-died
	if err := p.kill(); err != nil {
		t.Error(err)
	}
}

func TestProcessIsDeaf(t *testing.T) {
	t.Parallel()
	p, _ := shell(t, `trap "" TERM; echo ready; while :; do sleep 1; done`)
	for i := 0; i < 2; i++ {
		ctx, cancel := context.WithCancel(t.Context())
		if i == 1 {
			cancel() // an interrupted run does not wait
		}
		pid := p.cmd.Process.Pid
		if _, err := p.terminate(ctx, 100*time.Millisecond); err != nil || !gone(pid) {
			t.Errorf("not killed: %v", err)
		}
		cancel()
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	good := Options{For: time.Minute, Devices: DevicesMin, Schedulers: 1, Workers: 1, Sabotage: "lock"}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Options){
		func(o *Options) { o.For = time.Second }, func(o *Options) { o.Devices-- }, func(o *Options) { o.Workers = 0 },
		func(o *Options) { o.Schedulers = 0 }, func(o *Options) { o.Sabotage = "locks" },
	} {
		o := good
		if spoil(&o); o.check() == nil {
			t.Errorf("%+v passes", o)
		}
	}
}
