package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

const (
	benchStepTimeout = 30 * time.Minute // of one sweep, or of anything else that takes longer with more routers
	benchAskInterval = 20 * time.Millisecond
)

// benchLab is what all runs of a benchmark share: the fleet, and a directory that goes with them.
type benchLab struct {
	env      *env
	load     bench.Load
	program  string
	dir      string
	profiles string
	name     string // of the run under way
	progress *benchProgress
	died     func(error)

	password   secret.Text
	fleet      *bench.Child
	targets    []bench.Target
	algorithms bench.Algorithms
	redisKind  string
}

// newBenchLab makes the directory; end hears of a process that ends by itself. Without a directory for profiles they go with
// the rest.
func newBenchLab(e *env, load bench.Load, profiles string, end context.CancelCauseFunc) (*benchLab, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "confhaul-bench-")
	if err != nil {
		return nil, err
	}
	b := &benchLab{
		env: e, load: load, program: program, dir: dir, profiles: profiles, died: end, password: embedded.NewToken(),
		progress: newBenchProgress(e),
	}
	if b.profiles == "" {
		b.profiles = dir
	}
	return b, nil
}

// close ends the fleet and removes the directory.
func (b *benchLab) close() error {
	b.progress.end()
	var err error
	if b.fleet != nil {
		err = b.fleet.Stop()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// cause is why everything ended, where a process that died is the reason for err.
func (b *benchLab) cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// start starts a process of this program.
func (b *benchLab) start(name string, args ...string) (*bench.Child, error) {
	log := filepath.Join(b.dir, strings.ReplaceAll(name, " ", "-")+".log")
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return bench.StartChild(bench.ChildOptions{
		Name: name, Program: b.program, Args: args, Log: log, Died: b.died,
		Env: append(withoutSettings(os.Environ()), b.env.childVars...),
	})
}

// withoutSettings takes out what would change the settings of the processes that are measured.
func withoutSettings(vars []string) []string {
	var out []string
	for _, v := range vars {
		if !strings.HasPrefix(v, "CONFHAUL_") && !strings.HasPrefix(v, "CONFIG_BACKUP_") {
			out = append(out, v)
		}
	}
	return out
}

// benchMessage is what the processes of a benchmark say: how far they are, and at last what came of it.
type benchMessage struct {
	Done    int            `json:"done,omitempty"`
	Targets []bench.Target `json:"targets,omitempty"`
	Sweep   *bench.Sweep   `json:"sweep,omitempty"`
	Address string         `json:"address,omitempty"`
}

// hear shows how far a process is and returns the message after that.
func (b *benchLab) hear(ctx context.Context, c *bench.Child) (benchMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, benchStepTimeout, fmt.Errorf("not done within %s", benchStepTimeout))
	defer cancel()
	for {
		var m benchMessage
		if err := c.Receive(ctx, &m); err != nil {
			return m, err
		}
		if m.Targets != nil || m.Sweep != nil || m.Address != "" {
			return m, nil
		}
		b.progress.count(m.Done, b.load.Devices)
	}
}

func (b *benchLab) startFleet(ctx context.Context) error {
	b.progress.step("starting %s", plural(b.load.Devices, "router"))
	c, err := b.start("simulator", "bench", "part", "fleet")
	if err != nil {
		return err
	}
	b.fleet = c
	if err := c.Send(ctx, bench.FleetJob{Load: b.load, Username: simUser, Password: b.password.Reveal()}); err != nil {
		return err
	}
	m, err := b.hear(ctx, c)
	if err != nil {
		return err
	}
	b.targets = m.Targets
	b.algorithms, err = b.negotiate(ctx, m.Targets[0])
	return err
}

// negotiate connects as the worker does, and sees what is agreed on.
func (b *benchLab) negotiate(ctx context.Context, t bench.Target) (bench.Algorithms, error) {
	conn, err := sshclient.Dial(ctx, sshclient.Target{Address: t.Address, Port: t.Port, Username: simUser, Password: b.password}, nil)
	if err != nil {
		return bench.Algorithms{}, err
	}
	var a bench.Algorithms
	a.KeyExchange, a.Cipher, a.MAC, a.HostKey = conn.Algorithms()
	return a, conn.Close()
}

// turn measures everything once.
func (b *benchLab) turn(ctx context.Context, profiled bool) (run bench.Run, err error) {
	run = bench.Run{}
	if run[bench.KindBare], err = b.bare(ctx, profiled); err != nil {
		return nil, err
	}
	h, err := b.openHouse(ctx, b.askedSettings())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.openFleet(ctx); err != nil {
		return nil, err
	}
	for _, kind := range []bench.Kind{bench.KindFirst, bench.KindUnchanged} {
		if run[kind], err = h.sweep(ctx, kind, profiled); err != nil {
			return nil, err
		}
	}
	return run, nil
}

// bare runs the bare loop in a process of its own.
func (b *benchLab) bare(ctx context.Context, profiled bool) (s bench.Sweep, err error) {
	b.progress.step("%s: bare loop", b.name)
	c, err := b.start("bare loop", "bench", "part", "bare")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	job := bench.BareJob{
		Load: b.load, Targets: b.targets, Username: simUser, Password: b.password.Reveal(), Algorithms: b.algorithms,
	}
	if profiled {
		job.Profile = b.profile(bench.KindBare)
	}
	before, err := b.surroundings()
	if err != nil {
		return s, err
	}
	if err := c.Send(ctx, job); err != nil {
		return s, err
	}
	m, err := b.hear(ctx, c)
	if err != nil {
		return s, err
	}
	after, err := b.surroundings()
	s = *m.Sweep
	before.surround(&s, after)
	if err == nil && s.Devices != len(b.targets) {
		err = fmt.Errorf("the bare loop read %d exports of %d", s.Devices, len(b.targets))
	}
	return s, err
}

// surroundings is what is looked at in every sweep, whoever makes it.
func (b *benchLab) surroundings() (l benchLook, err error) {
	if l.simulator, err = bench.UsageOf(b.fleet.PID()); err != nil {
		return l, err
	}
	if l.self, err = bench.UsageOf(os.Getpid()); err != nil {
		return l, err
	}
	l.machine, err = bench.MachineNow()
	return l, err
}

// surround says what happened around a sweep between two looks.
func (l benchLook) surround(s *bench.Sweep, after benchLook) {
	s.Simulator, s.Self = after.simulator.CPU-l.simulator.CPU, after.self.CPU-l.self.CPU
	s.Machine = bench.Machine{All: after.machine.All - l.machine.All, Idle: after.machine.Idle - l.machine.Idle}
}

// profile is the file for the CPU profile of a kind; that of the allocations stands beside it.
func (b *benchLab) profile(kind bench.Kind) string {
	return filepath.Join(b.profiles, string(kind)+".cpu.pprof")
}

// shares reads the profiles.
func (b *benchLab) shares() (map[bench.Kind]map[string]float64, error) {
	out := map[bench.Kind]map[string]float64{}
	for _, kind := range bench.Kinds() {
		f, err := os.Open(b.profile(kind))
		if err != nil {
			return nil, err
		}
		stacks, err := bench.ReadProfile(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		out[kind] = bench.Shares(stacks)
	}
	return out, nil
}

// inventory is the routers as an inventory has them.
func (b *benchLab) inventory() []device.Device {
	out := make([]device.Device, 0, len(b.targets))
	for _, t := range b.targets {
		out = append(out, device.Device{ID: t.ID, Name: t.Name, Address: t.Address, Port: t.Port, Site: t.Site})
	}
	return out
}

// askedSettings are those of a fleet that is backed up only when somebody asks, whose streams hold every snapshot.
func (b *benchLab) askedSettings() []string {
	return append(b.loadSettings(), neverDue...)
}

// neverDue keeps the scheduler from making tasks of its own.
var neverDue = []string{"interval: 8760h", "jitter: {min: 1000h, max: 2000h}"}

// loadSettings are those that follow from the load.
func (b *benchLab) loadSettings() []string {
	const streamMin = 4 << 30
	stream := max(streamMin, 3*b.load.Devices*b.load.Size)
	return []string{
		"redial_delay: 0s", "concurrency: " + strconv.Itoa(b.load.Sessions), "stream: {snapshot_bytes: " + strconv.Itoa(stream) + "}",
	}
}
