package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// beConfhaul makes this test binary the program itself, so that tests can start, stop and kill real processes of it.
const beConfhaul = "CONFHAUL_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beConfhaul) == "1" {
		os.Exit(program(beConfhaul + "=1"))
	}
	os.Exit(m.Run())
}

// eventTimeout bounds every wait of these tests.
const eventTimeout = 2 * time.Minute

// outcome is what a finished command left.
type outcome struct {
	code        int
	out, errOut string
}

// runHere runs a command in this process.
func runHere(t *testing.T, args ...string) outcome {
	t.Helper()
	return runWith(t, nil, args...)
}

func runWith(t *testing.T, vars map[string]string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	var out, errOut lockedBuffer
	e := &env{in: strings.NewReader(""), out: &out, err: &errOut, childVars: []string{beConfhaul + "=1"}, getenv: func(name string) string {
		if v, ok := vars[name]; ok {
			return v
		}
		if name == "HOME" || name == "XDG_DATA_HOME" {
			return "/nonexistent"
		}
		return ""
	}}
	code := e.execute(ctx, args)
	return outcome{code, out.String(), errOut.String()}
}

// lockedBuffer takes writes of several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// process is a confhaul of its own.
type process struct {
	cmd    *exec.Cmd
	errOut *lockedBuffer
}

// startProcess starts the program; it is killed when the test ends.
func startProcess(t *testing.T, vars []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), errOut: &lockedBuffer{}}
	p.cmd.Env = append(append(os.Environ(), beConfhaul+"=1", "HOME="+t.TempDir()), vars...)
	p.cmd.Stderr = p.errOut
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%v:\n%s", args, p.errOut)
		}
	})
	return p
}

// kill ends the process as a power cut does.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// stop ends the process as an init system does and returns its exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(eventTimeout):
		t.Fatalf("%v does not stop:\n%s", p.cmd.Args, p.errOut)
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(eventTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatal("timed out waiting for " + what)
		case <-tick.C:
		}
	}
}

// fleetFiles starts a fleet in this process and writes its files as sim does; settings are added to them.
func fleetFiles(t *testing.T, o routersim.Options, settings string) (*routersim.Fleet, string) {
	t.Helper()
	o.Username, o.Password = simUser, secret.New("pw-of-the-test")
	fleet, err := routersim.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fleet.Close() })
	dir := t.TempDir()
	if err := (&env{}).writeFleet(dir, fleet.Devices(simCredential), o.Password, settings); err != nil {
		t.Fatal(err)
	}
	return fleet, filepath.Join(dir, "confhaul.yaml")
}

func decode[T any](t *testing.T, o outcome) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(o.out), &v); err != nil {
		t.Fatalf("exit %d, %v in %s\n%s", o.code, err, o.out, o.errOut)
	}
	return v
}
