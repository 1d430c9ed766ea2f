package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/stream"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

type demoOptions struct {
	devices int
	length  time.Duration
}

func (e *env) demoCmd() *cobra.Command {
	o := demoOptions{}
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch confhaul back up a fleet of simulated routers, some of them troubled",
		Long: `Start simulated routers on loopback, with everything that up runs, and back them up every few seconds: one router
refuses the password, one cuts its export, one is down, one changes its host key after its first backup, one changes
its configuration every few seconds, and one runs RouterOS 6. Stop it with Ctrl-C.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runDemo(cmd.Context(), o) },
	}
	cmd.Flags().IntVar(&o.devices, "devices", 30, "number of routers")
	cmd.Flags().DurationVar(&o.length, "for", 0, "end by itself after this `time` (0: run until interrupted)")
	return cmd
}

// demoSettings make everything happen in seconds.
const demoSettings = `interval: 15s
jitter: {min: 1s, max: 5s}
retry: [5s, 10s, 20s]
redial_delay: 0s
listen: 127.0.0.1:0
grace: 10s
`

const (
	changeInterval = 4 * time.Second // of the router that changes its configuration
	eventsShown    = 8
	screenInterval = 500 * time.Millisecond
	reportTimeout  = 10 * time.Second
	demoSeed       = 1
)

func (e *env) runDemo(ctx context.Context, o demoOptions) error {
	if o.devices < 1 {
		return usage(fmt.Errorf("--devices %d: use at least 1", o.devices))
	}
	dir, keep := e.data, e.data != ""
	if !keep {
		tmp, err := os.MkdirTemp("", "confhaul-demo-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(tmp) }()
		dir = tmp
	}
	if _, err := embedded.ReadRun(dir); err == nil {
		return usage(fmt.Errorf("%s is in use by a running demo or up", dir))
	}
	password := embedded.NewToken()
	fleet, err := routersim.Start(ctx, routersim.Options{Devices: o.devices, Seed: demoSeed, Username: simUser, Password: password})
	if err != nil {
		return usage(err)
	}
	defer func() { _ = fleet.Close() }()
	sorry, err := trouble(fleet)
	if err != nil {
		return err
	}
	if err := e.writeFleet(dir, fleet.Devices(simCredential), password, demoSettings); err != nil {
		return err
	}
	s, err := settings.Load(filepath.Join(dir, "confhaul.yaml"), func(string) string { return "" })
	if err != nil {
		return err
	}
	s.Data = dir
	d := newDemo(e, o, fleet, sorry)
	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	level := slog.LevelError // the demo tells what happens in its own words
	log := telemetry.NewLogger(e.err, e.errTerminal, level)
	if err := app.Up(ctx, s, log, []app.Role{d.watch, d.show, d.change}, d.report); err != nil {
		return err
	}
	return d.end(dir, keep)
}

// troubles are what the demo does to its routers, by position; a small fleet has the first few.
type troubles struct{ hostKey, changing *routersim.Router }

func trouble(fleet *routersim.Fleet) (troubles, error) {
	var t troubles
	for i, r := range fleet.Routers() {
		var err error
		switch i { // router 0 runs RouterOS 6
		case 1:
			err = r.SetFault(routersim.WrongPassword)
		case 2:
			err = r.SetFault(routersim.CutMidExport)
		case 3:
			err = r.SetFault(routersim.Refused)
		case 4:
			t.hostKey = r
		case 5:
			t.changing = r
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// demo is what the demo knows while it runs.
type demo struct {
	env     *env
	o       demoOptions
	fleet   *routersim.Fleet
	sorry   troubles
	started time.Time
	url     string

	mu      sync.Mutex
	states  map[string]backup.State // by device id
	seen    map[string]bool         // devices with a snapshot
	counts  demoCounts
	events  []string // the last few, in words
	rotated bool
	result  demoReport
}

type demoCounts struct{ snapshots, unchanged int }

func newDemo(e *env, o demoOptions, fleet *routersim.Fleet, sorry troubles) *demo {
	return &demo{env: e, o: o, fleet: fleet, sorry: sorry, started: time.Now(), states: map[string]backup.State{}, seen: map[string]bool{}}
}

// watch hears the streams and the states.
func (d *demo) watch(ctx context.Context, p *app.Process) error {
	d.url = p.HTTP.URL()
	d.tell(fmt.Sprintf("%s on loopback, dashboard at %s", plural(d.o.devices, "simulated router"), d.url))
	failed := make(chan error, 2)
	go func() { failed <- p.Stream.Watch(ctx, d.hear) }()
	go func() {
		failed <- p.Store.Watch(ctx, func(c backup.Change) error {
			_, id, err := device.SplitKey(c.Key)
			if err != nil {
				return err
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.states[id] = c.State
			return nil
		}, func() {}, backup.BucketState)
	}()
	err := errors.Join(<-failed, <-failed)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// hear counts an event and puts it into words.
func (d *demo) hear(m stream.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := m.Time.After(d.started) // a kept data directory has the events of earlier runs
	switch {
	case m.Snapshot != nil:
		d.counts.snapshots++
		first := !d.seen[m.Snapshot.DeviceID]
		d.seen[m.Snapshot.DeviceID] = true
		if fresh {
			d.note(snapshotWords(m.Snapshot, first))
		}
		if d.sorry.hostKey != nil && m.Snapshot.DeviceID == d.sorry.hostKey.ID() && !d.rotated {
			d.rotated = true
			d.sorry.hostKey.RotateHostKey()
			d.note(m.Snapshot.DeviceID + " gets a new host key, as after a swap of hardware or an attack")
		}
	case m.Event != nil && m.Event.Type == backup.EventUnchanged:
		d.counts.unchanged++
	case m.Event != nil && fresh:
		d.note(failureWords(m.Event))
	}
	return nil
}

func snapshotWords(s *backup.Snapshot, first bool) string {
	what := "changed: new snapshot"
	if first {
		what = "first snapshot"
	}
	return fmt.Sprintf("%s %s: RouterOS %s, %d bytes proven complete, digest %.12s", s.DeviceID, what, s.RouterOSVersion, s.Bytes, s.SHA256Hash)
}

func failureWords(ev *backup.Event) string {
	switch ev.Kind {
	case fault.Auth:
		return ev.DeviceID + " refused the password: blocked, not tried again, so that no account gets locked"
	case fault.HostKey:
		return ev.DeviceID + " shows another host key: blocked, no password was sent to it"
	case fault.Incomplete:
		return fmt.Sprintf("%s cut its export: not stored; next try in %s", ev.DeviceID, age(time.Until(ev.NextAt)))
	case fault.Unreachable:
		return fmt.Sprintf("%s is down (failure %d): next try in %s", ev.DeviceID, ev.Failures, age(time.Until(ev.NextAt)))
	}
	return fmt.Sprintf("%s: %s: %s", ev.DeviceID, ev.Kind, ev.Reason)
}

// note keeps a line for the screen, or prints it where there is none. The caller holds the lock.
func (d *demo) note(line string) {
	line = time.Now().Format(time.TimeOnly) + "  " + line
	if !d.screen() {
		_, _ = fmt.Fprintln(d.env.err, line)
		return
	}
	d.events = append(d.events, line)
	if len(d.events) > eventsShown {
		d.events = d.events[1:]
	}
}

func (d *demo) tell(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(line)
}

// screen says whether there is a terminal for the live table.
func (d *demo) screen() bool {
	return d.env.outTerminal && d.env.errTerminal && d.env.output == "table"
}

// change makes one router's configuration change every few seconds.
func (d *demo) change(ctx context.Context, _ *app.Process) error {
	tick := time.NewTicker(changeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if d.sorry.changing != nil {
				d.sorry.changing.Change()
			}
		}
	}
}
