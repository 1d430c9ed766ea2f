//go:build linux

package cli

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/bench"
)

// TestBench makes a small run of everything: its figures mean nothing, but they are there, and no router is lost.
func TestBench(t *testing.T) {
	t.Parallel()
	profiles := t.TempDir()
	o := runHere(t, "bench", "--devices", "20", "--size", "10KB", "--sessions", "5", "--sites", "2", "--runs", "1", "--profile", profiles, "-o", "json")
	if o.code != 0 {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	r := decode[bench.Report](t, o)
	if r.V != bench.ReportVersion || r.Runs != 1 || r.Load != (bench.Load{Devices: 20, Size: 10_000, Sessions: 5, Sites: 2}) {
		t.Errorf("got %+v", r)
	}
	if r.BareCPUms <= 0 || r.CPURatio <= 0 || r.CPURatioFirst <= 0 || r.RateRatio <= 0 || r.Algorithms.KeyExchange == "" {
		t.Errorf("bare %v, ratios %v, %v, %v, %s", r.BareCPUms, r.CPURatio, r.CPURatioFirst, r.RateRatio, r.Algorithms)
	}
	for _, kind := range bench.Kinds() {
		for _, f := range bench.Figures() {
			s, has := r.Sweeps[kind][f.Name]
			if has == (f.Product && kind == bench.KindBare) {
				t.Errorf("%s %s: there: %v", kind, f.Name, has)
			}
			unknown := strings.HasSuffix(f.Name, "_pct") || strings.HasPrefix(f.Name, "redis_") && r.Redis != "server" // may be 0
			if has && !unknown && s.Median <= 0 {
				t.Errorf("%s %s: %v", kind, f.Name, s.Median)
			}
		}
		for _, kept := range []string{".cpu.pprof", ".allocs.pprof"} {
			if _, err := os.Stat(filepath.Join(profiles, string(kind)+kept)); err != nil {
				t.Error(err)
			}
		}
	}
	for _, stage := range []string{"dial", "handshake", "login", "export", "prove", "normalize", "publish"} {
		if s := r.Stages[bench.KindFirst][stage]; s.P50.Median <= 0 || s.P99.Median < s.P50.Median {
			t.Errorf("%s: %+v", stage, s)
		}
	}
	for _, step := range []string{"run 1 of 1: bare loop", "run 1 of 1: first sweep", "run with profile: unchanged sweep"} {
		if !contains(o.errOut, step) {
			t.Errorf("%q is not told: %s", step, o.errOut)
		}
	}
	var out lockedBuffer
	e := &env{out: &out}
	r.Compared = bench.Compare(r, r)
	e.printBench(r)
	for _, line := range []string{"20 routers on 2 sites, 10 KB each, no delay, 5 sessions; 1 run", "times the bare loop's", "STEP, MS", "ssh key exchange", "unchanged cpu_ms", "need >= 6 samples"} {
		if !contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
}

func TestBenchOptions(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(report, []byte(`{"v":1,"runs":3,"load":{"devices":5}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, arguments := range map[string][]string{
		"--devices 0":      {"--devices", "0"},
		"size \"x\"":       {"--size", "x"},
		"--sessions 20000": {"--sessions", "20000"},
		"--runs 0":         {"--runs", "0"},
		"--delay -1s":      {"--delay", "-1s"},
		"no such file":     {"--compare", "/nonexistent"},
		"of another load":  {"--compare", report},
		"unknown command":  {"part", "x"},
		"no job on":        {"part", "nats"},
		"a worker has at ": {"--sessions", "10001"},
		"--devices 2000":   {"slots", "--devices", "2000000"},
		"--interval 1.5s":  {"slots", "--interval", "1500ms"},
		"--rounds 0":       {"slots", "--rounds", "0"},
		"--workers 0":      {"slots", "--workers", "0"},
		"size \"big\"":     {"slots", "--size", "big"},
		"--sites 200":      {"idle", "--devices", "100"},
		"--for 10ms":       {"idle", "--for", "10ms"},
	} {
		if o := runHere(t, append([]string{"bench"}, arguments...)...); o.code != exitUsage || !contains(o.errOut, want) {
			t.Errorf("%v: exit %d, %s, want %s", arguments, o.code, o.errOut, want)
		}
	}
}

// TestBenchSlots backs a small fleet up by its timetable, with a second worker.
func TestBenchSlots(t *testing.T) {
	t.Parallel()
	o := runHere(t, "bench", "slots", "--devices", "20", "--sites", "2", "--interval", "5s", "--rounds", "2", "--sessions", "5", "--workers", "2", "-o", "json")
	if o.code != 0 {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	r := decode[bench.SlotsReport](t, o)
	if r.V != bench.SlotsVersion || r.Load.Devices != 20 || r.Workers != 2 || r.IntervalS != 5 || len(r.Rounds) != 2 || r.FreshS <= 0 {
		t.Errorf("got %+v", r)
	}
	if r.All.Backups < 20 || r.All.Total() != 0 || r.All.NotGood != 0 || r.All.DevicesPerCore <= 0 || r.All.Stored.ArchiveBytesPerDevice < 1000 {
		t.Errorf("all: %+v", r.All)
	}
	if n := r.All.Stored.Streams["CONFIG_SNAPSHOTS"].Messages; n != 20 {
		t.Errorf("%d snapshots", n)
	}
	for _, name := range bench.ProcessNames() {
		unknown := name == bench.ProcessRedis && r.Redis != "server"
		if p := r.All.Processes[name]; !unknown && (p.CPUms <= 0 || p.Peak < p.Last || p.First <= 0) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if !contains(o.errOut, "round 2 of 2: ") {
		t.Errorf("progress: %s", o.errOut)
	}
	var out lockedBuffer
	r.All.Failed, r.All.Reasons = map[string]int{"timeout": 3}, []string{"router-0007: failing no answer"}
	(&env{out: &out}).printSlots(r)
	for _, line := range []string{
		"20 routers on 2 sites, 10 KB each, 2 workers of 5 sessions, a slot every 5s", "every router was backed up", "ROUND 2",
		"scheduler: CPU per backup, ms", "CONFIG_SNAPSHOTS", "failed attempts, timeout: 3", "router-0007: failing no answer",
	} {
		if !contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
}

func TestBenchIdle(t *testing.T) {
	t.Parallel()
	o := runHere(t, "bench", "idle", "--devices", "6", "--sites", "3", "--for", "1s", "-o", "json")
	if o.code != 0 {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	r := decode[bench.IdleReport](t, o)
	if r.V != bench.IdleVersion || r.Sites != 3 || r.Devices != 6 || r.Seconds < 1 {
		t.Errorf("got %+v", r)
	}
	if r.Redis == "server" && (r.RedisCommandsPerS <= 0 || r.RedisCommands["evalsha"] <= 0) {
		t.Errorf("Redis: %v a second, %v", r.RedisCommandsPerS, r.RedisCommands)
	}
	for _, name := range []string{bench.ProcessWorker, bench.ProcessScheduler, bench.ProcessArchiver, bench.ProcessNATS} {
		if p := r.Processes[name]; p.CPUsPerHour <= 0 || p.RSSmb <= 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	var out lockedBuffer
	(&env{out: &out}).printIdle(r)
	for _, line := range []string{"6 routers on 3 sites, nothing due", "CPU SECONDS PER HOUR", "scheduler", "commands per second", "messages per second"} {
		if !contains(out.String(), line) {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
}

// TestBenchCountsLosses: a sweep in which a router is missing, or ends as it should not, is no result.
func TestBenchCountsLosses(t *testing.T) {
	t.Parallel()
	l := bench.Load{Devices: 2, Size: 100}
	state := func(r backup.Result, bytes int) backup.State {
		return backup.State{Result: r, Bytes: bytes, AttemptStarted: time.Now().Add(time.Minute)}
	}
	for name, tc := range map[string]struct {
		kind    bench.Kind
		answers []backup.State
		ok      bool
	}{
		"all new":        {bench.KindFirst, []backup.State{state(backup.ResultChanged, 100), state(backup.ResultChanged, 120)}, true},
		"all unchanged":  {bench.KindUnchanged, []backup.State{state(backup.ResultUnchanged, 100), state(backup.ResultUnchanged, 100)}, true},
		"one is missing": {bench.KindFirst, []backup.State{state(backup.ResultChanged, 100)}, false},
		"one failed":     {bench.KindFirst, []backup.State{state(backup.ResultChanged, 100), state(backup.ResultFailed, 100)}, false},
		"one is old":     {bench.KindFirst, []backup.State{state(backup.ResultChanged, 100), {Result: backup.ResultChanged, Bytes: 100}}, false},
		"one changed":    {bench.KindUnchanged, []backup.State{state(backup.ResultUnchanged, 100), state(backup.ResultChanged, 100)}, false},
		"one is short":   {bench.KindFirst, []backup.State{state(backup.ResultChanged, 100), state(backup.ResultChanged, 99)}, false},
	} {
		out := newBenchOutcome(tc.kind, l)
		for _, a := range tc.answers {
			out.hear("a", a)
		}
		if err := out.check(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBenchEnds interrupts a benchmark in the middle of a sweep, or kills it: nothing of it runs on.
func TestBenchEnds(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			cmd := exec.Command(os.Args[0], "bench", "--devices", "10", "--size", "10KB", "--sessions", "2", "--delay", "20s")
			cmd.Env = append(os.Environ(), beConfhaul+"=1", "TMPDIR="+tmp)
			said, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			late := time.AfterFunc(eventTimeout, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			lines := bufio.NewScanner(said)
			for lines.Scan() && lines.Text() != "run 1 of 3: bare loop" {
			}
			var started []string
			eventually(t, "simulator and bare loop to start", func() bool { started = children(t, cmd.Process.Pid); return len(started) == 2 })
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(said)
			_ = cmd.Wait()
			eventually(t, "its processes to end", func() bool { return !slices.ContainsFunc(started, running) })
			if s == syscall.SIGKILL {
				return
			}
			if code := cmd.ProcessState.ExitCode(); code != exitFailure || !contains(string(rest), "interrupted") {
				t.Errorf("exit %d: %s", code, rest)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("files are left: %v, %v", left, err)
			}
		})
	}
}

// children are the processes that a process has started and that still are.
func children(t *testing.T, parent int) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), "\nPPid:\t"+strconv.Itoa(parent)+"\n") { // else it has ended
			out = append(out, filepath.Base(filepath.Dir(path)))
		}
	}
	return out
}

// running says whether the process runs; one that has ended and that nobody has waited for yet does not.
func running(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	return err == nil && !strings.Contains(string(status), "State:\tZ")
}
