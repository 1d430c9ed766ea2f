package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
)

// changesRows is how many changes a table lists where nothing else was asked for.
const changesRows = 50

type changesOptions struct {
	since, site string
	limit       int
}

func (e *env) changesCmd() *cobra.Command {
	o := changesOptions{}
	cmd := &cobra.Command{
		Use: "changes", Short: "List what changed on the whole fleet",
		Long: `List what changed on the whole fleet, or at a site, newest first: when, on which device, and what in words, without any
secret. A time is when the first export with the change began. A table has the newest 50, -o json all, unless -n says
otherwise. --since takes ` + timeForms + `.`,
		Example: `  confhaul changes --since 3d --site riga`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.limit < 0 || o.limit == 0 && cmd.Flags().Changed("limit") {
				return usage(errors.New("-n: use 1 or more"))
			}
			return e.runChanges(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.since, "since", "24h", "from this `time` on")
	cmd.Flags().StringVar(&o.site, "site", "", "only what changed at this `site`")
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 0, "the newest `N` changes")
	return cmd
}

func (e *env) runChanges(ctx context.Context, o changesOptions) error {
	now := time.Now()
	since, err := parseTime(o.since, now, false)
	if err != nil {
		return usage(fmt.Errorf("--since %w", err))
	}
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written
	if err := checkSite(ctx, r, o.site); err != nil {
		return err
	}
	if o.limit == 0 && e.output == "table" {
		o.limit = changesRows
	}
	all, more, damage, err := readChanges(ctx, r, archive.ChangeQuery{Since: since, Site: o.site}, o.limit)
	if err != nil {
		return historyError(err)
	}
	if e.output == "json" {
		err = printJSON(e.out, all)
	} else {
		err = e.printChanges(all, more, since, now)
	}
	return errors.Join(err, historyError(damage))
}

// checkSite tells a site without history from one where nothing happened.
func checkSite(ctx context.Context, r archive.Reader, site string) error {
	if site == "" {
		return nil
	}
	devices, err := r.Devices(ctx, archive.DeviceQuery{Site: site})
	if err == nil && len(devices) == 0 {
		err = noSite(site)
	}
	return historyError(err)
}

func noSite(site string) error {
	return usage(fmt.Errorf("--site %s: no device of the archive is on it", site))
}

// readChanges compares what changed with the versions before; limit 0 takes all. more says that there are older ones.
func readChanges(ctx context.Context, r archive.Reader, q archive.ChangeQuery, limit int) (out []versionView, more bool, damage, err error) {
	if out = []versionView{}; limit > 0 {
		q.Limit = limit + 1
	}
	t := app.NewTexts(r)
	err = r.Changes(ctx, q, func(v archive.Version) error {
		if more = limit > 0 && len(out) == limit; more {
			return nil
		}
		c, err := t.Compare(ctx, v, v.Previous != "")
		if errors.Is(err, archive.ErrNotFound) {
			return nil // retention removed it meanwhile
		}
		if err == nil {
			out = append(out, viewVersion(v, c))
		}
		return err
	})
	return out, more, t.Damage, err
}

func (e *env) printChanges(all []versionView, more bool, since, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintf(e.out, "nothing changed since %s UTC (%s)\n", moment(since), age(now.Sub(since)))
		return err
	}
	rows := [][]string{}
	for i := range all {
		v := &all[i]
		rows = append(rows, []string{moment(v.FirstSeen), clip(v.ID, 24), v.Site, "@" + strconv.Itoa(v.Number), lineCounts(v.LinesAdded, v.LinesRemoved), v.Summary})
	}
	e.fitTable([]string{"WHEN (UTC)", "DEVICE", "SITE", "@", "LINES", "WHAT CHANGED"}, rows)
	if !more {
		return nil
	}
	_, err := fmt.Fprintf(e.out, "and more before them (-n %d shows more, -o json all)\n", 10*len(all))
	return err
}
