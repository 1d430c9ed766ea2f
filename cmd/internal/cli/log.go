package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
)

// logRows is how many versions a table lists where nothing else was asked for.
const logRows = 25

func (e *env) logCmd() *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use: "log DEVICE", Short: "List the versions of a device's configuration and what each of them changed",
		Long: `List the versions of a device's configuration, newest first, with what each changed in the one before: the lines that
came and went, and the changes in words, without any secret. DEVICE is an id, or a name that no other device has.
A table has the newest 25, -o json all of them, unless -n says otherwise.`,
		Example: `  confhaul log edge-7
  confhaul diff edge-7 @3 @4`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if limit < 0 || limit == 0 && cmd.Flags().Changed("limit") {
				return usage(errors.New("-n: use 1 or more"))
			}
			return e.runLog(cmd.Context(), a[0], limit)
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "the newest `N` versions")
	return cmd
}

func (e *env) runLog(ctx context.Context, word string, limit int) error {
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written
	d, err := findArchived(ctx, r, word)
	if err != nil {
		return err
	}
	if limit == 0 && e.output == "table" {
		limit = logRows
	}
	versions, damage, err := readLog(ctx, r, d.ID, limit)
	if err != nil {
		return historyError(err)
	}
	if e.output == "json" {
		err = printJSON(e.out, versions)
	} else {
		err = e.printLog(d, versions, time.Now())
	}
	return errors.Join(err, historyError(damage))
}

// readLog compares each of the newest versions with the one before; limit 0 takes all. A damaged text leaves a gap in what is
// told, and its error in damage.
func readLog(ctx context.Context, r archive.Reader, device string, limit int) (out []versionView, damage, err error) {
	more := limit
	if more > 0 {
		more++ // the one with which the last of them is compared
	}
	versions, err := r.Versions(ctx, device, 0, more)
	if err != nil {
		return nil, nil, err
	}
	out = []versionView{}
	t := app.NewTexts(r)
	for i, v := range versions {
		if limit > 0 && i == limit {
			break
		}
		c, err := t.Compare(ctx, v, i+1 < len(versions))
		if err != nil {
			return nil, nil, err
		}
		out = append(out, viewVersion(v, c))
	}
	return out, t.Damage, nil
}

func (e *env) printLog(d archive.Device, versions []versionView, now time.Time) error {
	head := fmt.Sprintf("%s (%s)", d.ID, d.Site)
	if d.Name != "" && d.Name != d.ID {
		head = fmt.Sprintf("%s (%s, %s)", d.ID, visible(d.Name), d.Site)
	}
	_, err := fmt.Fprintf(e.out, "%s: %s; last proven %s, last change %s\n", head, plural(d.Versions, "version"), since(d.Proven, now), since(d.Changed, now))
	if err == nil && !d.Removed.IsZero() {
		_, err = fmt.Fprintf(e.out, "%s\n", paint(e.outTerminal, yellow, "removed from the inventory "+moment(d.Removed)))
	}
	if err != nil {
		return err
	}
	header, rows := []string{"@", "SINCE (UTC)", "AGE", "LINES", "WHAT CHANGED"}, [][]string{}
	digests := e.width() >= digestWidth
	if digests {
		header = slices.Insert(header, 3, "DIGEST")
	}
	for i := range versions {
		v := &versions[i]
		row := []string{"@" + strconv.Itoa(v.Number), moment(v.FirstSeen), ago(v.FirstSeen, now), lineCounts(v.LinesAdded, v.LinesRemoved), v.Summary}
		if digests {
			row = slices.Insert(row, 3, v.Digest[:min(len(v.Digest), digestShown)])
		}
		rows = append(rows, row)
	}
	_, _ = fmt.Fprintln(e.out)
	e.fitTable(header, rows)
	if left := d.Versions - len(versions); left > 0 {
		_, err = fmt.Fprintf(e.out, "and %d older (-n %d shows them, -o json too)\n", left, d.Versions)
	}
	return err
}

const (
	digestShown = 8   // digits of a digest in a listing: enough to name a version
	digestWidth = 100 // columns from which on there is room for them
)

// ago is an age in a column.
func ago(t, now time.Time) string { return age(max(now.Sub(t), 0)) }
