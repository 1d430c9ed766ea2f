package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// auditRows is how many actions a table lists where nothing else was asked for.
const auditRows = 50

type auditOptions struct {
	since, site string
	limit       int
}

func (e *env) auditCmd() *cobra.Command {
	o := auditOptions{}
	cmd := &cobra.Command{
		Use: "audit", Short: "List what people asked for: who, from where, what, and of which site or device",
		Long: `List what people asked for through the dashboard and by commands, newest first: who, from where, what, and of which site or
device. An action is recorded before it is done, and not done where it cannot be recorded; whether it worked is not in the
record. Records are kept for a year, 64 MiB of them at most. A table has the newest 50, -o json all, unless -n says otherwise. --since takes ` + timeForms + `.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.limit < 0 || o.limit == 0 && cmd.Flags().Changed("limit") {
				return usage(errors.New("-n: use 1 or more"))
			}
			return e.runAudit(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.since, "since", "7d", "from this `time` on")
	cmd.Flags().StringVar(&o.site, "site", "", "only what is about this `site` or a device on it")
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 0, "the newest `N` actions")
	return cmd
}

func (e *env) runAudit(ctx context.Context, o auditOptions) error {
	now := time.Now()
	since, err := parseTime(o.since, now, false)
	if err != nil {
		return usage(fmt.Errorf("--since %w", err))
	}
	if o.site != "" {
		if err := device.CheckSite(o.site); err != nil {
			return usage(err)
		}
	}
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	all, err := p.Stream.Audits(ctx, o.site)
	if err != nil {
		return err
	}
	if o.limit == 0 && e.output == "table" {
		o.limit = auditRows
	}
	newest, more := newestAudits(all, since, o.limit)
	if e.output == "json" {
		return printJSON(e.out, newest)
	}
	return e.printAudits(newest, more)
}

// newestAudits are those since a time, newest first; limit 0 takes all. more says that there are older ones.
func newestAudits(all []backup.Audit, since time.Time, limit int) (out []backup.Audit, more bool) {
	out = []backup.Audit{}
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].At.Before(since) {
			continue
		}
		if limit > 0 && len(out) == limit {
			return out, true
		}
		out = append(out, all[i])
	}
	return out, false
}

func (e *env) printAudits(all []backup.Audit, more bool) error {
	rows := [][]string{}
	for _, a := range all {
		site, id := a.Site, a.DeviceID
		if site == "" {
			site = "-"
		}
		if id == "" {
			id = "-"
		}
		rows = append(rows, []string{moment(a.At), visible(a.By), visible(a.From), site, clip(id, 24), visible(a.What)})
	}
	e.fitTable([]string{"WHEN (UTC)", "BY", "FROM", "SITE", "DEVICE", "WHAT"}, rows)
	if !more {
		return nil
	}
	_, err := fmt.Fprintf(e.out, "and more before them (-n %d shows more, -o json all)\n", 10*len(all))
	return err
}
