package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// demoReport is the demo's result as JSON.
type demoReport struct {
	Devices     int            `json:"devices"`
	BackedUp    int            `json:"backed_up"`   // devices with at least one proven snapshot
	Snapshots   uint64         `json:"snapshots"`   // snapshot events on the stream
	Unchanged   uint64         `json:"unchanged"`   // unchanged events on the stream
	Blocked     int            `json:"blocked"`     // devices
	Incomplete  int            `json:"incomplete"`  // devices whose last result is that
	Unreachable int            `json:"unreachable"` // devices whose last result is that
	ElapsedS    float64        `json:"elapsed_s"`
	Details     []demoDeviceOf `json:"devices_detail"`
}

type demoDeviceOf struct {
	ID      string        `json:"id"`
	Status  backup.Status `json:"status"`
	Kind    fault.Kind    `json:"kind"`
	Reason  string        `json:"reason"`
	Digest  string        `json:"digest"`
	Version string        `json:"version"`
}

// report counts when the last session has ended and everything is stored.
func (d *demo) report(ctx context.Context, p *app.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, reportTimeout, fmt.Errorf("count the demo's results: not done within %s", reportTimeout))
	defer cancel()
	list, err := statuses(ctx, p.Parts)
	if err != nil {
		return err
	}
	counts, err := p.Stream.Counts(ctx)
	if err != nil {
		return err
	}
	r := demoReport{
		Devices: len(list), Snapshots: counts.Snapshots, Unchanged: counts.Unchanged, ElapsedS: time.Since(d.started).Seconds(),
		Details: make([]demoDeviceOf, 0, len(list)),
	}
	for _, s := range list {
		if s.Digest != "" {
			r.BackedUp++
		}
		if s.Status == backup.StatusBlocked {
			r.Blocked++
		}
		switch s.Kind {
		case fault.Incomplete:
			r.Incomplete++
		case fault.Unreachable:
			r.Unreachable++
		}
		r.Details = append(r.Details, demoDeviceOf{s.ID, s.Status, s.Kind, s.Reason, s.Digest, s.Version})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.result = r
	return nil
}

// end prints the result.
func (d *demo) end(dir string, kept bool) error {
	if d.env.output == "json" {
		return printJSON(d.env.out, d.result)
	}
	r := d.result
	_, err := fmt.Fprintf(d.env.out, "\n%d of %d devices have a proven snapshot after %s: %d snapshots, %d times unchanged, %d blocked, %d incomplete, %d unreachable\n",
		r.BackedUp, r.Devices, time.Duration(r.ElapsedS*float64(time.Second)).Round(time.Second), r.Snapshots, r.Unchanged, r.Blocked, r.Incomplete, r.Unreachable)
	if kept {
		_, err = fmt.Fprintf(d.env.out, "kept in %s; NATS's store is %s/nats, history %[2]s/archive\n", dir, strings.TrimRight(dir, "/"))
	}
	return errors.Join(err, d.advise(dir, kept))
}

// advise says what the history of the changing router can be asked.
func (d *demo) advise(dir string, kept bool) error {
	if d.sorry.changing == nil {
		return nil
	}
	if !kept {
		_, err := fmt.Fprintln(d.env.out, "its history is gone with its directory: with --data DIR it stays, and confhaul log, diff, show and changes read it")
		return err
	}
	_, err := fmt.Fprintln(d.env.out, "one router changed all the time; try:")
	for _, command := range []string{"log %s", "diff %s", "show %s @1"} {
		_, werr := fmt.Fprintf(d.env.out, "  confhaul "+command+" --data %s\n", d.sorry.changing.ID(), dir)
		err = errors.Join(err, werr)
	}
	_, werr := fmt.Fprintf(d.env.out, "  confhaul changes --since 1h --data %s\n", dir)
	return errors.Join(err, werr)
}

// show draws the live table on a terminal, and elsewhere prints a line of counts every few seconds.
func (d *demo) show(ctx context.Context, _ *app.Process) error {
	interval := 5 * time.Second
	if d.screen() {
		interval = screenInterval
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	drawn := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		d.mu.Lock()
		if d.screen() {
			drawn = d.draw(drawn)
		} else {
			_, _ = fmt.Fprintln(d.env.err, time.Now().Format(time.TimeOnly)+"  "+d.counted())
		}
		d.mu.Unlock()
	}
}

func (d *demo) counted() string {
	by := map[backup.Status]int{}
	for _, s := range d.states {
		by[s.Status()]++
	}
	pending := d.o.devices - by[backup.StatusOK] - by[backup.StatusFailing] - by[backup.StatusBlocked]
	return fmt.Sprintf("%d ok, %d failing, %d blocked, %d pending; %d snapshots, %d times unchanged",
		by[backup.StatusOK], by[backup.StatusFailing], by[backup.StatusBlocked], pending, d.counts.snapshots, d.counts.unchanged)
}

// draw writes the screen over the one before and returns its height. It fits the terminal: what has no room is left out,
// healthy devices first.
func (d *demo) draw(before int) int {
	width, height := 80, 24
	if f, ok := d.env.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	lines := []string{"confhaul demo  " + d.url + "  (Ctrl-C ends it)", d.counted(), ""}
	room := max(height-len(lines)-eventsShown-2, 3)
	lines = append(lines, d.rows(room)...)
	lines = append(lines, "")
	lines = append(lines, d.events...)
	var b strings.Builder
	if before > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", before)
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[K" + clipLine(l, width-1) + "\n")
	}
	for range max(before-len(lines), 0) {
		b.WriteString("\x1b[K\n")
	}
	_, _ = fmt.Fprint(d.env.out, b.String())
	return max(before, len(lines))
}

// rows are one line per device, the troubled first.
func (d *demo) rows(room int) []string {
	now := time.Now()
	var first, rest []string
	for _, r := range d.fleet.Routers() {
		s := d.states[r.ID()]
		colour := map[backup.Status]string{backup.StatusOK: green, backup.StatusFailing: yellow, backup.StatusBlocked: red, backup.StatusPending: faint}[s.Status()]
		doing := s.Reason
		if s.Running.Live(now) {
			doing = "session open"
		} else if s.Result.Good() {
			doing = string(s.Result)
		}
		line := fmt.Sprintf("%-12s %s %-8s %-10s %s", r.ID(), paint(true, colour, fmt.Sprintf("%-8s", s.Status())), s.Version, since(s.GoodStarted, now), doing)
		if s.Status() == backup.StatusFailing || s.Status() == backup.StatusBlocked {
			first = append(first, line)
		} else {
			rest = append(rest, line)
		}
	}
	all := append(first, rest...)
	if len(all) > room {
		left := len(all) - room + 1
		all = append(all[:room-1], fmt.Sprintf("and %d more", left))
	}
	return all
}

// clipLine cuts a line with colours at width visible characters.
func clipLine(s string, width int) string {
	visible, inside := 0, false
	for i, r := range s {
		switch {
		case r == '\x1b':
			inside = true
		case inside:
			inside = r != 'm'
		default:
			if visible++; visible > width {
				return s[:i] + "\x1b[0m"
			}
		}
	}
	return s
}
