//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Options say what run to make.
type Options struct {
	For        time.Duration // in which faults happen; before and after it the fleet is watched until all is done
	Seed       uint64
	Devices    int
	Schedulers int
	Workers    int
	Rolling    int       // instead of faults: so many rolling restarts of all workers; For is then what they take
	Sabotage   string    // "" or one of Sabotages: a protection that the processes are to switch off
	Keep       string    // directory for all files, which then stay; "": a temporary one, kept only after a breach
	Progress   io.Writer // one line for each fault and each breach
}

// Sabotages lists the protections that can be switched off.
func Sabotages() []string { return []string{"lock", "limit", "block", "ladder"} }

// DevicesMin is how many devices it takes for one of each sort.
const DevicesMin = 20

const (
	buildTimeout   = 10 * time.Minute
	readyTimeout   = 30 * time.Second // of Redis and NATS, to the first connection
	warmTimeout    = 3 * time.Minute  // until every healthy device has its first backup
	endTimeout     = time.Minute      // for the last reading of the streams
	quietIntervals = 3                // at least, after the last fault
	sampleInterval = 250 * time.Millisecond
	reviveInterval = time.Second
	changeInterval = 700 * time.Millisecond
	termPatience   = grace + 15*time.Second
)

func (o Options) check() error {
	switch {
	case o.For < 10*time.Second:
		return fmt.Errorf("%s is too short for any fault: use at least 10s", o.For)
	case o.Devices < DevicesMin:
		return fmt.Errorf("%d devices: use at least %d, so that there is one of each sort", o.Devices, DevicesMin)
	case o.Schedulers < 1 || o.Workers < 1:
		return errors.New("use at least one scheduler and one worker")
	case o.Sabotage != "" && !slices.Contains(Sabotages(), o.Sabotage):
		return fmt.Errorf("sabotage %q: use one of %q", o.Sabotage, Sabotages())
	}
	return nil
}

// Run makes a run and judges it. Its processes have ended when it returns, also where ctx ended it, which is an error.
func Run(ctx context.Context, o Options) (Ledger, error) {
	if err := o.check(); err != nil {
		return Ledger{}, err
	}
	dir, err := o.directory()
	if err != nil {
		return Ledger{}, err
	}
	var steps []Step
	if o.Rolling > 0 {
		steps, o.For = Rolling(o.Rolling, o.Workers)
	} else {
		steps = Plan(o.Seed, o.For, o.Schedulers, o.Workers)
	}
	r := &run{o: o, steps: steps, dir: dir, interval: IntervalOf(o.Devices), rec: newRecorder(), began: time.Now()}
	l, err := r.run(ctx)
	l.Seed, l.Died = o.Seed, r.rec.died
	if o.Keep == "" && err == nil && l.Kept() {
		return l, os.RemoveAll(dir)
	}
	r.say("the logs of the processes are in %s", dir)
	return l, err
}

func (o Options) directory() (string, error) {
	if o.Keep == "" {
		return os.MkdirTemp("", "confhaul-chaos-*")
	}
	return filepath.Abs(o.Keep) // made with its first child
}

type run struct {
	o        Options
	steps    []Step
	dir      string
	interval time.Duration
	rec      *recorder
	lab      *lab
	reader   *reader
	redis    string // host:port
	nats     string
	began    time.Time

	processes []*process
	saying    sync.Mutex
	revive    chan *process // ended by themselves
}

func (r *run) say(format string, args ...any) {
	r.saying.Lock()
	defer r.saying.Unlock()
	_, _ = fmt.Fprintf(r.o.Progress, "%7.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) run(ctx context.Context) (l Ledger, err error) {
	if err := r.prepare(ctx); err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, r.lab.fleet.Close()) }()
	if r.reader, err = newReader("nats://" + r.nats); err != nil {
		return l, err
	}
	defer r.reader.close()
	defer r.endAll()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	if err := r.startAll(ctx); err != nil {
		return l, err
	}
	watch.Go(func() { r.sample(watching) })
	watch.Go(func() { r.follow(watching) })
	watch.Go(func() { r.keepAlive(watching) })

	e := Evidence{Interval: r.interval, SiteLimit: siteLimit, Ladder: LadderOf(r.interval), Devices: r.lab.devices}
	if err := r.await(ctx, warmTimeout, time.Time{}, time.Time{}); err != nil {
		return l, err
	}
	e.Begin = time.Now()
	r.say("every healthy device is backed up; interval %s, faults from now for %s", r.interval, r.o.For)
	if err := r.perform(watching, r.steps); err != nil {
		return l, err
	}
	e.Calm = time.Now()
	r.say("quiet from now for %s at least, until every slot is done", quietIntervals*r.interval)
	patience := Patience(r.interval) + NoticeDelay + PutBackDelay
	if err := r.await(ctx, patience, e.Begin, e.Calm); err != nil && ctx.Err() != nil {
		return l, err
	}
	if !pause(ctx, time.Until(e.Calm.Add(quietIntervals*r.interval))) { // what comes late must not come twice
		return l, context.Cause(ctx)
	}
	stop()
	watch.Wait()
	if err := r.gather(ctx, &e); err != nil {
		return l, err
	}
	if err := r.keepEvidence(e); err != nil {
		return l, err
	}
	l, breaches := Judge(e)
	for _, b := range breaches {
		r.say("BREACH %s: %s at %s (%.1fs): %s", b.Rule, b.Device, clock(b.At), b.At.Sub(r.began).Seconds(), b.What)
	}
	return l, nil
}

// keepEvidence writes what the judges hear beside the logs, for whoever looks into a breach.
func (r *run) keepEvidence(e Evidence) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.dir, "evidence.json"), b, 0o600)
}

// prepare builds the programs, starts the fleet and writes its files.
func (r *run) prepare(ctx context.Context) error {
	for _, sub := range []string{"logs", "nats", "home"} {
		if err := os.MkdirAll(filepath.Join(r.dir, sub), 0o700); err != nil {
			return err
		}
	}
	redisServer, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("a real redis-server is needed: %w", err)
	}
	r.say("building in %s", r.dir)
	tags := ""
	if r.o.Sabotage != "" {
		tags = "sabotage"
	}
	for name, pkg := range map[string]string{"confhaul": "github.com/confhaul/confhaul/cmd/confhaul", "nats-server": "github.com/nats-io/nats-server/v2"} {
		if err := build(ctx, filepath.Join(r.dir, name), pkg, tags); err != nil {
			return err
		}
	}
	if r.lab, err = newLab(ctx, r.o.Devices, r.o.Seed, r.rec); err != nil {
		return err
	}
	ports, err := freePorts(2) // after the fleet, whose hundreds of routers would find one of them free
	if err != nil {
		return errors.Join(err, r.lab.fleet.Close())
	}
	r.redis, r.nats = net.JoinHostPort(loopback, ports[0]), net.JoinHostPort(loopback, ports[1])
	err = r.lab.write(r.dir, "redis://"+r.redis, "nats://"+r.nats, r.interval)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, "nats.conf"), fmt.Appendf(nil,
			"listen: %s\nmax_payload: 8MB\njetstream {\n  store_dir: %q\n  sync_interval: always\n}\n", r.nats, filepath.Join(r.dir, "nats")), 0o600)
	}
	if err != nil {
		return errors.Join(err, r.lab.fleet.Close())
	}
	r.define(redisServer, ports[0])
	return nil
}

const loopback = "127.0.0.1"

func build(ctx context.Context, to, pkg, tags string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, buildTimeout, fmt.Errorf("not built within %s", buildTimeout))
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", to, pkg).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return nil
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // all at once, so that they differ
		out = append(out, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return out, nil
}

// define says what the processes are.
func (r *run) define(redisServer, redisPort string) {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(r.dir, "home")}
	if r.o.Sabotage != "" {
		env = append(env, "CONFHAUL_SABOTAGE="+r.o.Sabotage)
	}
	r.revive = make(chan *process, 2+r.o.Schedulers+r.o.Workers)
	add := func(role Role, index int, program string, args ...string) {
		p := &process{role: role, index: index, program: program, args: args, env: env, dir: r.dir}
		p.log = filepath.Join(r.dir, "logs", p.name()+".log")
		p.died = func(why string) {
			r.rec.death()
			r.say("%s", why)
			select {
			case r.revive <- p:
			default: // it is on the list
			}
		}
		r.processes = append(r.processes, p)
	}
	add(Redis, 0, redisServer, "--port", redisPort, "--bind", loopback, "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	add(NATS, 0, filepath.Join(r.dir, "nats-server"), "-c", filepath.Join(r.dir, "nats.conf"))
	confhaul, settings := filepath.Join(r.dir, "confhaul"), filepath.Join(r.dir, "confhaul.yaml")
	for i := range r.o.Schedulers {
		add(Scheduler, i, confhaul, "scheduler", "--config", settings, "--listen", loopback+":0")
	}
	for i := range r.o.Workers {
		add(Worker, i, confhaul, "worker", "--config", settings, "--listen", loopback+":0")
	}
}

func (r *run) startAll(ctx context.Context) error {
	for _, p := range r.processes {
		if err := p.start(); err != nil {
			return err
		}
		switch p.role {
		case Redis:
			if err := reachable(ctx, r.redis); err != nil {
				return err
			}
		case NATS:
			if err := reachable(ctx, r.nats); err != nil {
				return err
			}
		}
	}
	return nil
}

// reachable waits until somebody listens at the address.
func reachable(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("nobody listens at %s within %s", address, readyTimeout))
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		if !pause(ctx, 20*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// endAll ends every process, the last started first.
func (r *run) endAll() {
	for _, p := range slices.Backward(r.processes) {
		p.close()
	}
}

// find gives the process of a role.
func (r *run) find(role Role, index int) *process {
	for _, p := range r.processes {
		if p.role == role && p.index == index {
			return p
		}
	}
	return nil
}

// sample keeps looking at the routers' log, and has a router change now and then.
func (r *run) sample(ctx context.Context) {
	rng := chance(r.o.Seed, 2)
	next := time.Now()
	for pause(ctx, sampleInterval) {
		r.rec.see(time.Now(), r.lab.fleet.Sessions())
		if time.Now().After(next) {
			r.lab.change(rng, r.rec)
			next = time.Now().Add(changeInterval)
		}
	}
}

// keepAlive starts again what ended by itself, as a supervisor does.
func (r *run) keepAlive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-r.revive:
			if pause(ctx, reviveInterval) {
				if err := p.start(); err != nil {
					r.say("%v", err)
				}
			}
		}
	}
}

// pause waits; false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
