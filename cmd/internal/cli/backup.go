package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

type backupOptions struct {
	devices []string
	site    string
	all     bool
	wait    bool
	force   bool
	bare    bool
	timeout time.Duration
}

func (e *env) backupCmd() *cobra.Command {
	o := backupOptions{}
	cmd := &cobra.Command{
		Use: "backup [DEVICE...|--site SITE|--all]", Short: "Back up devices now",
		Long: `Ask for a backup of devices now, ahead of the backlog. With --wait, stay until each has an outcome whose export began
after the request. --force runs a blocked device once. --without-secrets takes an export that is otherwise refused because
the router's secrets do not show in it; say so only for routers that have none, or whose secrets were taken away.

` + exitHelp,
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, a []string) error {
			o.devices = a
			return e.runBackup(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.site, "site", "", "every enabled device of this `site`")
	f.BoolVar(&o.all, "all", false, "every enabled device")
	f.BoolVar(&o.wait, "wait", false, "wait for the outcomes")
	f.BoolVar(&o.force, "force", false, "also run devices that are blocked, once")
	f.BoolVar(&o.bare, "without-secrets", false, "take exports in which no secrets show: the routers have none")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "with --wait: give up waiting after this `time`")
	return cmd
}

func (o backupOptions) check() error {
	ways := 0
	for _, given := range []bool{len(o.devices) > 0, o.site != "", o.all} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("name devices, or use --site SITE, or --all: one of the three")
	}
	return nil
}

func (e *env) runBackup(ctx context.Context, o backupOptions) error {
	if err := o.check(); err != nil {
		return usage(err)
	}
	p, err := e.connectRegistry(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	registered, err := p.Store.Devices(ctx)
	if err != nil {
		return err
	}
	devices, err := o.choose(registered)
	if err != nil {
		return usage(err)
	}
	if err := o.audit(ctx, p, devices); err != nil {
		return err
	}
	r := newBackupRun(e, len(devices))
	stop := func() {}
	if o.wait {
		stop = r.showProgress(ctx, p)
	}
	defer stop()
	if err := p.Ask(ctx, r.asks, devices, app.How{Force: o.force, WithoutSecrets: o.bare}, r.answer); err != nil {
		return err
	}
	r.asked.Store(true)
	if !o.wait {
		return e.printAsked(r)
	}
	wctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("no outcome within %s", o.timeout))
	defer cancel()
	err = p.Await(wctx, r.asks, r.answer)
	stop()
	return e.printOutcome(ctx, r, err)
}

// audit records what is asked for: many devices as one action.
func (o backupOptions) audit(ctx context.Context, p *app.Parts, devices []device.Device) error {
	what, site, id := fmt.Sprintf("backup of %s", plural(len(devices), "device")), o.site, ""
	if len(devices) == 1 {
		what, site, id = "backup", devices[0].Site, devices[0].ID
	}
	if o.force {
		what += " by force"
	}
	return p.AuditCommand(ctx, what, site, id)
}

// choose picks the devices out of the registry.
func (o backupOptions) choose(registered []device.Device) ([]device.Device, error) {
	if len(registered) == 0 {
		return nil, errors.New("the registry has no devices: is a scheduler running, and does its settings file name an inventory?")
	}
	byID := map[string]device.Device{}
	var chosen []device.Device
	for _, d := range registered {
		byID[d.ID] = d
		if d.Enabled && (o.all || o.site != "" && d.Site == o.site) {
			chosen = append(chosen, d)
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(o.devices))) { // one named twice is asked once
		d, ok := byID[id]
		switch {
		case !ok:
			return nil, fmt.Errorf("device %q is not in the registry (see confhaul inventory list)", id)
		case !d.Enabled:
			return nil, fmt.Errorf("device %q is disabled in the inventory", id)
		}
		chosen = append(chosen, d)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no enabled device on site %q", o.site)
	}
	return chosen, nil
}

// backupRun counts the answers of one command.
type backupRun struct {
	env     *env
	asks    *app.Asks
	asked   atomic.Bool // every request is made
	total   int
	started time.Time
	results map[backup.Result]int
	bad     []badDevice
	notes   chan string // lines for the progress printer
}

type badDevice struct {
	ID     string        `json:"id"`
	Site   string        `json:"site"`
	Status backup.Result `json:"result"`
	Kind   fault.Kind    `json:"kind"`
	Reason string        `json:"reason"`
}

func newBackupRun(e *env, total int) *backupRun {
	return &backupRun{env: e, asks: app.NewAsks(), total: total, started: time.Now(), results: map[backup.Result]int{}, notes: make(chan string, 64)}
}

// answer is called by one goroutine at a time.
func (r *backupRun) answer(a app.Asked) {
	result, kind, reason := a.State.Result, a.State.Kind, a.State.Reason
	if a.Error != nil {
		result, kind, reason = backup.ResultFailed, fault.KindOf(a.Error), a.Error.Error()
		if a.State.Block != nil {
			result = backup.ResultBlocked
		}
	}
	r.results[result]++
	if result.Good() {
		return
	}
	r.bad = append(r.bad, badDevice{a.Device.ID, a.Device.Site, result, kind, reason})
	select {
	case r.notes <- fmt.Sprintf("%s: %s: %s", a.Device.ID, kind, reason):
	default: // the summary has it too
	}
}

func (r *backupRun) good() int {
	return r.results[backup.ResultChanged] + r.results[backup.ResultUnchanged]
}

// showProgress prints count, rate and time left until stop is called, and failures as they come.
func (r *backupRun) showProgress(ctx context.Context, p *app.Parts) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		interval := 5 * time.Second
		if r.env.errTerminal {
			interval = 200 * time.Millisecond
		}
		tick, workers := time.NewTicker(interval), time.NewTicker(10*time.Second)
		defer tick.Stop()
		defer workers.Stop()
		for {
			select {
			case <-quit:
				r.line("")
				return
			case <-ctx.Done():
				return
			case note := <-r.notes:
				r.say(note)
			case <-workers.C:
				r.explain(ctx, p)
			case <-tick.C:
				r.line(r.progress(time.Now()))
			}
		}
	}()
	stopped := false
	return func() {
		if !stopped {
			stopped = true
			close(quit)
			<-done
		}
	}
}

// line shows the progress in place on a terminal, and as a line of its own elsewhere.
func (r *backupRun) line(s string) {
	switch {
	case r.env.errTerminal:
		_, _ = fmt.Fprintf(r.env.err, "\r\x1b[K%s", s)
	case s != "":
		_, _ = fmt.Fprintln(r.env.err, s)
	}
}

func (r *backupRun) say(s string) {
	if r.env.errTerminal {
		_, _ = fmt.Fprint(r.env.err, "\r\x1b[K")
	}
	_, _ = fmt.Fprintln(r.env.err, clip(s, 200))
}

func (r *backupRun) progress(now time.Time) string {
	if !r.asked.Load() {
		return fmt.Sprintf("asked for %d of %s", r.asks.Open(), plural(r.total, "backup"))
	}
	answered := r.total - r.asks.Open()
	took := now.Sub(r.started)
	rate := float64(answered) / took.Seconds()
	left := "-"
	if rate > 0 {
		left = age(time.Duration(float64(r.total-answered) / rate * float64(time.Second)))
	}
	return fmt.Sprintf("%d of %d, %.1f/s, %s left", answered, r.total, rate, left)
}

// explain says why devices are still waited for: a site that nobody works for, or a fault of ours that put a task back.
func (r *backupRun) explain(ctx context.Context, p *app.Parts) {
	served, err := p.Queue.ServedSites()
	if err != nil {
		return
	}
	for site, n := range r.asks.Sites() {
		if s, _, err := p.Store.Site(ctx, site); err == nil && s.Paused != nil {
			r.say(fmt.Sprintf("site %s is paused, %s waiting: confhaul site resume %s", site, plural(n, "device"), site))
		} else if !served[site] {
			r.say(fmt.Sprintf("site %s: %s waiting and no worker: start one with confhaul worker", site, plural(n, "device")))
		}
	}
	for _, d := range r.asks.Some(3) {
		if why := p.Queue.LastError(d.Site, d.ID); why != "" {
			r.say(fmt.Sprintf("%s: put back: %s", d.ID, why))
		}
	}
}

type backupSummary struct {
	Devices    int         `json:"devices"`
	Succeeded  int         `json:"succeeded"`
	Changed    int         `json:"changed"`
	Unchanged  int         `json:"unchanged"`
	Failed     int         `json:"failed"`
	Blocked    int         `json:"blocked"`
	Unanswered int         `json:"unanswered"`
	ElapsedS   float64     `json:"elapsed_s"`
	Failures   []badDevice `json:"failures"`
}

func (r *backupRun) summary() backupSummary {
	sort.Slice(r.bad, func(i, j int) bool { return r.bad[i].ID < r.bad[j].ID })
	return backupSummary{
		Devices: r.total, Succeeded: r.good(), Changed: r.results[backup.ResultChanged], Unchanged: r.results[backup.ResultUnchanged],
		Failed: r.results[backup.ResultFailed], Blocked: r.results[backup.ResultBlocked], Unanswered: r.asks.Open(),
		ElapsedS: time.Since(r.started).Seconds(), Failures: append([]badDevice{}, r.bad...),
	}
}

func (e *env) printAsked(r *backupRun) error {
	if e.output == "json" {
		if err := printJSON(e.out, r.summary()); err != nil {
			return err
		}
	} else {
		for _, b := range r.bad {
			_, _ = fmt.Fprintf(e.out, "%s: %s\n", b.ID, b.Reason)
		}
		_, _ = fmt.Fprintf(e.out, "asked for %s; see confhaul status\n", plural(r.asks.Open(), "backup"))
	}
	return r.exit()
}

func (e *env) printOutcome(ctx context.Context, r *backupRun, waited error) error {
	s := r.summary()
	if e.output == "json" {
		if err := printJSON(e.out, s); err != nil {
			return err
		}
	} else {
		for _, b := range s.Failures {
			_, _ = fmt.Fprintf(e.out, "%s: %s: %s\n", b.ID, paint(e.outTerminal, red, string(b.Kind)), b.Reason)
		}
		_, _ = fmt.Fprintf(e.out, "%d of %d backed up in %s: %d changed, %d unchanged, %d failed, %d blocked%s\n", s.Succeeded, s.Devices,
			time.Since(r.started).Round(100*time.Millisecond), s.Changed, s.Unchanged, s.Failed, s.Blocked, unanswered(s.Unanswered))
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted: what was asked for goes on without this command")
	case waited != nil:
		return waited
	}
	return r.exit()
}

func unanswered(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d without an outcome yet", n)
}

// exit is the first that applies of unreachable, blocked, incomplete, failed.
func (r *backupRun) exit() error {
	kinds := map[fault.Kind]bool{}
	for _, b := range r.bad {
		kinds[b.Kind] = true
	}
	switch {
	case len(r.bad) == 0:
		return nil
	case kinds[fault.Infrastructure]:
		return &exitError{code: exitUnreachable}
	case r.results[backup.ResultBlocked] > 0:
		return &exitError{code: exitBlocked}
	case kinds[fault.Incomplete]:
		return &exitError{code: exitIncomplete}
	}
	return &exitError{code: exitFailed}
}

// kindNames lists the fault kinds for help texts.
func kindNames() string {
	var names []string
	for _, k := range fault.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}
