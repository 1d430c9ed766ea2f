//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	helperVariable = "CONFHAUL_BENCH_HELPER"
	waitTimeout    = 30 * time.Second // of anything a test waits for; never reached but by a fault
)

// TestMain lets the test binary be a child: one that answers, one that dies, one that is deaf, or one that has a child itself.
func TestMain(m *testing.M) {
	switch os.Getenv(helperVariable) {
	case "answer":
		var n int
		for in := json.NewDecoder(os.Stdin); in.Decode(&n) == nil; {
			fmt.Println(n + 1)
		}
		os.Exit(0)
	case "die":
		fmt.Fprintln(os.Stderr, "the reason")
		os.Exit(3)
	case "deaf": // also to the end of its standard input
		select {}
	case "parent":
		c, err := StartChild(ChildOptions{
			Name: "inner", Program: os.Args[0], Env: append(os.Environ(), helperVariable+"=deaf"), Log: os.Args[1], Died: func(error) {},
		})
		fmt.Println(err == nil, c.PID())
		select {}
	}
	os.Exit(m.Run())
}

func helper(t *testing.T, role string, died func(error)) *Child {
	t.Helper()
	c, err := StartChild(ChildOptions{
		Name: "helper", Program: os.Args[0], Env: append(os.Environ(), helperVariable+"="+role),
		Log: filepath.Join(t.TempDir(), "log"), Died: died,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	t.Cleanup(cancel)
	return ctx
}

func TestChildSpeaks(t *testing.T) {
	t.Parallel()
	c := helper(t, "answer", func(err error) { t.Error(err) })
	ctx := bounded(t)
	for n := range 3 {
		if err := c.Send(ctx, n); err != nil {
			t.Fatal(err)
		}
		var got int
		if err := c.Receive(ctx, &got); err != nil || got != n+1 {
			t.Fatalf("%d, %v", got, err)
		}
	}
	u, err := UsageOf(c.PID())
	if err != nil || u.CPU <= 0 || u.RSS <= 0 || u.Peak < u.RSS {
		t.Errorf("%+v, %v", u, err)
	}
	short, cancel := context.WithCancelCause(ctx)
	cancel(errors.New("enough"))
	if err := c.Receive(short, new(int)); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("a wait that was cancelled: %v", err)
	}
	for range 2 {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := UsageOf(c.PID()); err == nil {
		t.Error("it is still there")
	}
}

func TestChildDies(t *testing.T) {
	t.Parallel()
	died := make(chan error, 1)
	c := helper(t, "die", func(err error) { died <- err })
	ctx := bounded(t)
	if err := c.Receive(ctx, new(int)); err == nil || !strings.Contains(err.Error(), "helper ended before it was done; it said last: the reason") {
		t.Errorf("got %v", err)
	}
	select {
	case err := <-died:
		if want := "helper ended by itself: exit status 3; it said last: the reason"; err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	case <-ctx.Done():
		t.Error("nobody hears of its death")
	}
	if _, err := StartChild(ChildOptions{Name: "nothing", Program: "/nonexistent", Log: filepath.Join(t.TempDir(), "log")}); err == nil {
		t.Error("a program that does not exist starts")
	}
}

// TestChildDiesWithParent kills a process as a power cut does, and watches its child.
func TestChildDiesWithParent(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(bounded(t), os.Args[0], filepath.Join(t.TempDir(), "log"))
	cmd.Env = append(os.Environ(), helperVariable+"=parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ok bool
	var pid int
	if _, err := fmt.Fscan(out, &ok, &pid); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, and says so
	deadline, tick := time.NewTimer(waitTimeout), time.NewTicker(5*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-deadline.C:
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d outlived its parent", pid)
		case <-tick.C:
		}
	}
}

// alive says whether the process runs; one that has ended and that nobody has waited for yet does not.
func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}

func TestListening(t *testing.T) {
	t.Parallel()
	log := `{"level":"INFO","msg":"other","address":"1:1"}
no json
{"level":"INFO","msg":"serving health and metrics","address":"127.0.0.1:4711"}
{"level":"INFO","msg":"serving health and metrics"`
	if got := Listening([]byte(log)); got != "127.0.0.1:4711" {
		t.Errorf("got %q", got)
	}
	if got := Listening([]byte(log[:90])); got != "" {
		t.Errorf("got %q of a line that is not whole", got)
	}
}

func TestStatusBytes(t *testing.T) {
	t.Parallel()
	status := []byte("Name:\tx\nVmHWM:\t  1234 kB\nVmRSS:\t1 MB\n")
	if n, err := statusBytes(status, "VmHWM:"); err != nil || n != 1234<<10 {
		t.Errorf("%d, %v", n, err)
	}
	for _, name := range []string{"VmRSS:", "VmSwap:"} {
		if _, err := statusBytes(status, name); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	m, err := machineOf([]byte("cpu  1 2 3 100 50 6 7 8 99 99\ncpu0 1 1 1 1\n"))
	if err != nil || m.All != 1770*time.Millisecond || m.Idle != 1500*time.Millisecond {
		t.Errorf("%+v, %v", m, err)
	}
	for _, broken := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if _, err := machineOf([]byte(broken)); err == nil {
			t.Errorf("%q passes", broken)
		}
	}
	if m, err := MachineNow(); err != nil || m.All < m.Idle || m.All == 0 {
		t.Errorf("now: %+v, %v", m, err)
	}
}
