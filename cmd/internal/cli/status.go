package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

type statusOptions struct{ site, kind string }

func (e *env) statusCmd() *cobra.Command {
	o := statusOptions{}
	cmd := &cobra.Command{
		Use: "status", Short: "Show how every device's backups stand", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runStatus(cmd.Context(), o) },
	}
	cmd.Flags().StringVar(&o.site, "site", "", "only this `site`")
	cmd.Flags().StringVar(&o.kind, "kind", "", "only devices whose last attempt failed with this `kind`: "+kindNames())
	return cmd
}

// deviceStatus is one device in listings.
type deviceStatus struct {
	ID       string        `json:"id"`
	Name     string        `json:"name,omitempty"`
	Site     string        `json:"site,omitempty"`
	Status   backup.Status `json:"status"`
	Kind     fault.Kind    `json:"kind"`
	Reason   string        `json:"reason"`
	Digest   string        `json:"digest"`
	Version  string        `json:"version"`
	LastGood *time.Time    `json:"last_good,omitempty"` // when the last proven export began
	NextAt   *time.Time    `json:"next_at,omitempty"`
	Failures int           `json:"failures,omitempty"`
	Findings []string      `json:"findings"` // what is no failure and yet not as it should be

	fresh app.Fresh // without what the archive knows
}

func statusOf(d device.Device, s backup.State, sharedWith []string) deviceStatus {
	return deviceStatus{
		Findings: findings(s, sharedWith),
		ID:       d.ID, Name: d.Name, Site: d.Site, Status: s.Status(), Kind: s.Kind, Reason: s.Reason, Digest: s.Digest, Version: s.Version,
		LastGood: optional(s.GoodStarted), NextAt: optional(s.NextAt), Failures: s.Failures,
		fresh: app.NewFresh(d, s, time.Time{}, time.Now()),
	}
}

func findings(s backup.State, sharedWith []string) []string {
	out := []string{}
	if len(sharedWith) > 0 {
		out = append(out, "the same host key as "+strings.Join(sharedWith, ", ")+": cloned image?")
	}
	return append(out, s.Findings()...)
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (e *env) runStatus(ctx context.Context, o statusOptions) error {
	if o.kind != "" && !slices.Contains(fault.Kinds(), fault.Kind(o.kind)) {
		return usage(fmt.Errorf("--kind %s: use one of %s", o.kind, kindNames()))
	}
	p, err := e.connectRegistry(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	list, err := statuses(ctx, p)
	if err != nil {
		return err
	}
	if o.site != "" && !slices.ContainsFunc(list, func(d deviceStatus) bool { return d.Site == o.site }) {
		return usage(fmt.Errorf("--site %s: no enabled device is on it", o.site))
	}
	shown := []deviceStatus{}
	for _, d := range list {
		if (o.site == "" || d.Site == o.site) && (o.kind == "" || string(d.Kind) == o.kind) {
			shown = append(shown, d)
		}
	}
	if e.output == "json" {
		return printJSON(e.out, shown)
	}
	if err := e.printClock(ctx, p); err != nil {
		return err
	}
	if err := e.printFull(ctx, p); err != nil {
		return err
	}
	if err := e.printPaused(ctx, p); err != nil {
		return err
	}
	if err := e.printPausedSites(ctx, p, o.site); err != nil {
		return err
	}
	if err := e.printStatus(shown); err != nil {
		return err
	}
	return e.printOldest(ctx, p, shown)
}

func statuses(ctx context.Context, p *app.Parts) ([]deviceStatus, error) {
	devices, err := p.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	states, err := p.Store.States(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := p.Store.HostKeys(ctx)
	if err != nil {
		return nil, err
	}
	shared := app.SharedKeys(devices, keys)
	out := make([]deviceStatus, 0, len(devices))
	for _, d := range devices {
		if d.Enabled {
			out = append(out, statusOf(d, states[d.Key()], shared[d.ID]))
		}
	}
	return out, nil
}

// printClock says that this machine's clock is off, where that is so.
func (e *env) printClock(ctx context.Context, p *app.Parts) error {
	skew, err := p.Queue.Skew(ctx)
	if err != nil || skew.Abs() <= app.SkewWarn {
		return err
	}
	_, err = fmt.Fprintf(e.out, "%s: set it (NTP); processes here take and enqueue nothing from %s on\n\n",
		paint(e.outTerminal, red, fmt.Sprintf("the clock of this machine differs from Redis' by %s", skew.Round(time.Millisecond))), app.SkewMax)
	return err
}

// behindMin is how long a snapshot may wait for the archiver before status tells of it.
const behindMin = 15 * time.Minute

// printFull says that snapshots will soon be refused, or that the archiver is behind, where that is so.
func (e *env) printFull(ctx context.Context, p *app.Parts) error {
	b, err := p.Stream.Backlog(ctx)
	var words string
	switch {
	case err != nil:
		return err
	case b.NearlyFull():
		words = app.FullWords(b)
	case !b.Oldest.IsZero() && time.Since(b.Oldest) > behindMin:
		words = fmt.Sprintf("%s not archived yet, the oldest came %s: see that the archiver runs", plural(int(b.Pending), "snapshot"), since(b.Oldest, time.Now()))
	default:
		return nil
	}
	_, err = fmt.Fprintf(e.out, "%s\n\n", paint(e.outTerminal, red, words))
	return err
}

// printPaused names the credentials that nobody is tried with.
func (e *env) printPaused(ctx context.Context, p *app.Parts) error {
	paused, err := p.PausedCredentials(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(paused)) {
		b := paused[name]
		_, err := fmt.Fprintf(e.out, "%s: %s.\nCorrect it in the credentials file, or: %s\n\n",
			paint(e.outTerminal, red, "credential "+name+" is paused"), b.Words(), b.ResumeCommand())
		if err != nil {
			return err
		}
	}
	return nil
}

// printPausedSites names the sites, or the one, at which nothing starts.
func (e *env) printPausedSites(ctx context.Context, p *app.Parts, only string) error {
	sites, err := p.Store.Sites(ctx)
	if err != nil {
		return err
	}
	for _, s := range sites {
		if s.Paused == nil || only != "" && s.Name != only {
			continue
		}
		why := ""
		if s.Paused.Reason != "" {
			why = " (" + s.Paused.Reason + ")"
		}
		_, err := fmt.Fprintf(e.out, "%s since %s by %s%s: no backup starts there until: confhaul site resume %s\n\n",
			paint(e.outTerminal, red, "site "+s.Name+" is paused"), s.Paused.At.UTC().Format(time.DateTime), s.Paused.By, why, s.Name)
		if err != nil {
			return err
		}
	}
	return nil
}

// reason is whole where it holds what somebody must compare or do to go on.
func reason(d deviceStatus) string {
	if d.Status == backup.StatusBlocked {
		return d.Reason
	}
	if d.Reason == "" {
		return clip(strings.Join(d.Findings, "; "), 80)
	}
	return clip(d.Reason, 80)
}

// statusRowsMax is how many healthy devices a table may list beside the others; beyond it they are only counted.
const statusRowsMax = 50

func (e *env) printStatus(list []deviceStatus) error {
	now := time.Now()
	counts := map[backup.Status]int{}
	for _, d := range list {
		counts[d.Status]++
	}
	_, err := fmt.Fprintf(e.out, "%s: %d ok, %d failing, %d blocked, %d pending\n\n", plural(len(list), "device"),
		counts[backup.StatusOK], counts[backup.StatusFailing], counts[backup.StatusBlocked], counts[backup.StatusPending])
	if err != nil || len(list) == 0 {
		return err
	}
	rank := map[backup.Status]int{backup.StatusBlocked: 0, backup.StatusFailing: 1, backup.StatusPending: 2, backup.StatusOK: 3}
	sort.SliceStable(list, func(i, j int) bool { return rank[list[i].Status] < rank[list[j].Status] })
	rows, left := [][]string{}, 0
	for _, d := range list {
		if d.Status == backup.StatusOK && len(rows) >= statusRowsMax {
			left++
			continue
		}
		good := time.Time{}
		if d.LastGood != nil {
			good = *d.LastGood
		}
		rows = append(rows, []string{d.ID, d.Site, string(d.Status), since(good, now), d.Version, reason(d)})
	}
	table(e.out, []string{"DEVICE", "SITE", "STATUS", "LAST GOOD", "ROUTEROS", "REASON"}, rows)
	if left > 0 {
		_, err = fmt.Fprintf(e.out, "and %d more that are ok (-o json lists all)\n", left)
	}
	return err
}
