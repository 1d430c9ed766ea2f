package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

const staleRows = 50

func (e *env) staleCmd() *cobra.Command {
	older := ""
	cmd := &cobra.Command{
		Use: "stale", Short: "List the devices without a recent proven backup",
		Long: `List the devices whose last proven backup is older than 26 hours, oldest first, and beside it how old the last archived
one is, where this machine has the archive. A device that was never backed up counts from when it was first seen; one
whose interval is longer than a day from two hours beyond its interval, unless --older-than says what holds for all.
Disabled devices do not count.

Exit codes: 0 none is stale, 2 usage, 6 Redis or NATS not reachable, 7 some device is stale.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			limit := time.Duration(0)
			if cmd.Flags().Changed("older-than") {
				d, ok := parseAgo(older)
				if !ok || d <= 0 {
					return usage(fmt.Errorf("--older-than %q: use a time as in 26h, 3d or 90m", older))
				}
				limit = d
			}
			return e.runStale(cmd.Context(), limit)
		},
	}
	cmd.Flags().StringVar(&older, "older-than", "26h", "the `age` from which on a backup is stale, as in 26h or 3d")
	return cmd
}

// staleView is a stale device as JSON.
type staleView struct {
	ID           string        `json:"id"`
	Name         string        `json:"name,omitempty"`
	Site         string        `json:"site"`
	LastProven   *time.Time    `json:"last_proven"`   // null: never
	LastArchived *time.Time    `json:"last_archived"` // null: never, or the archive is not at hand
	FirstSeen    time.Time     `json:"first_seen"`
	Status       backup.Status `json:"status"`
	Kind         fault.Kind    `json:"kind,omitempty"`
	Reason       string        `json:"reason,omitempty"`
}

func (e *env) runStale(ctx context.Context, asked time.Duration) error {
	p, err := e.connectRegistry(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	now := time.Now()
	archived := e.lastArchived(ctx, p)
	fresh, err := p.Freshness(ctx, archived, now)
	if err != nil {
		return err
	}
	atHand := archived != nil
	stale, unarchived := []app.Fresh{}, 0
	for _, f := range fresh {
		limit := cmp.Or(asked, backup.StaleAfter(f.Device.Interval, p.Settings.Interval))
		switch {
		case now.Sub(f.Since()) > limit:
			stale = append(stale, f)
		case atHand && now.Sub(f.Archived) > limit && !f.Proven.IsZero():
			unarchived++
		}
	}
	if e.output == "json" {
		views := []staleView{}
		for _, f := range stale {
			views = append(views, staleView{
				f.Device.ID, f.Device.Name, f.Device.Site, optional(f.Proven), optional(f.Archived), f.Device.FirstSeen,
				f.State.Status(), f.State.Kind, f.State.Reason,
			})
		}
		err = printJSON(e.out, views)
	} else {
		err = e.printStale(stale, fresh, atHand, now)
	}
	if unarchived > 0 {
		_, _ = fmt.Fprintf(e.err, "confhaul: the last proven backup of %s is not in the archive: does the archiver run?\n", plural(unarchived, "device"))
	}
	if err == nil && len(stale) > 0 {
		err = &exitError{code: exitStale}
	}
	return err
}

// lastArchived is app.LastArchived, nil where the archive is not at hand: what is wrong with it is told, and keeps nobody from
// being called stale.
func (e *env) lastArchived(ctx context.Context, p *app.Parts) map[string]time.Time {
	archived, err := app.LastArchived(ctx, p.Settings)
	if err != nil && !errors.Is(err, archive.ErrNone) {
		_, _ = fmt.Fprintln(e.err, "confhaul: when backups were archived is not known:", err)
	}
	return archived
}

func (e *env) printStale(stale, fresh []app.Fresh, atHand bool, now time.Time) error {
	if len(stale) == 0 {
		text := "no device is stale"
		if len(fresh) > 0 {
			text += fmt.Sprintf(": of %s the oldest backup is that of %s, %s", plural(len(fresh), "device"), fresh[0].Device.ID, proven(fresh[0], now))
		}
		_, err := fmt.Fprintln(e.out, text)
		return err
	}
	_, err := fmt.Fprintf(e.out, "%s of %d stale\n\n", plural(len(stale), "device"), len(fresh))
	e.printFresh(stale[:min(len(stale), staleRows)], atHand, now)
	if left := len(stale) - staleRows; left > 0 {
		_, err = fmt.Fprintf(e.out, "and %d more (-o json lists all)\n", left)
	}
	return err
}

// proven says how old the last proven backup is.
func proven(f app.Fresh, now time.Time) string {
	if f.Proven.IsZero() {
		return "never (seen " + since(f.Device.FirstSeen, now) + ")"
	}
	return since(f.Proven, now)
}

func (e *env) printFresh(list []app.Fresh, atHand bool, now time.Time) {
	rows := [][]string{}
	for _, f := range list {
		row := []string{f.Device.ID, f.Device.Site, proven(f, now)}
		if atHand {
			row = append(row, since(f.Archived, now))
		}
		rows = append(rows, append(row, string(f.State.Status()), f.State.Reason))
	}
	header := []string{"DEVICE", "SITE", "LAST PROVEN"}
	if atHand {
		header = append(header, "LAST ARCHIVED")
	}
	e.fitTable(append(header, "STATUS", "REASON"), rows)
}

// oldestRows is how many devices status names for the age of their backups.
const oldestRows = 10

// printOldest names those of the listed devices whose last proven backups are the oldest, where the list is longer than that.
func (e *env) printOldest(ctx context.Context, p *app.Parts, listed []deviceStatus) error {
	if len(listed) <= oldestRows {
		return nil
	}
	fresh := make([]app.Fresh, 0, len(listed))
	for _, d := range listed {
		fresh = append(fresh, d.fresh)
	}
	slices.SortFunc(fresh, app.Fresh.Compare)
	fresh = fresh[:oldestRows]
	archived := e.lastArchived(ctx, p)
	for i := range fresh {
		fresh[i].Archived = archived[fresh[i].Device.ID]
	}
	_, err := fmt.Fprintf(e.out, "\nThe oldest backups (confhaul stale):\n")
	e.printFresh(fresh, archived != nil, time.Now())
	return err
}
