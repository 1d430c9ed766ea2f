package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/routeros"
)

// diffContext is how many equal lines stand around a change.
const diffContext = 3

func (e *env) diffCmd() *cobra.Command {
	stat := false
	cmd := &cobra.Command{
		Use: "diff DEVICE [A] [B]", Short: "Show what differs between two versions of a device's configuration",
		Long: `Show what differs between two versions of a device's configuration, in their normal form: without A and B the last
change, with A alone what changed since that version. On a terminal the difference is coloured and shown by $PAGER, or
less. It holds the router's secrets; the words of --stat do not. DEVICE is an id, or a name that no other device has.

` + atHelp,
		Example: `  confhaul diff edge-7
  confhaul diff edge-7 @2d
  confhaul diff edge-7 @3 @-1 --stat`,
		Args: args(cobra.RangeArgs(1, 3)),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runDiff(cmd.Context(), a[0], a[1:], stat) },
	}
	cmd.Flags().BoolVar(&stat, "stat", false, "only count the lines, and list the changes in words")
	return cmd
}

// diffView is a difference as JSON.
type diffView struct {
	ID           string            `json:"id"`
	From         endView           `json:"from"`
	To           endView           `json:"to"`
	LinesAdded   int               `json:"lines_added"`
	LinesRemoved int               `json:"lines_removed"`
	Summary      string            `json:"summary"`
	Changes      []routeros.Change `json:"changes"`
	Diff         *string           `json:"diff,omitempty"` // with secrets; not with --stat
}

// endView is one end of a difference.
type endView struct {
	Number    int       `json:"version"`
	Digest    string    `json:"sha256_hash"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	RouterOS  string    `json:"routeros_version"`
}

func viewEnd(v archive.Version) endView {
	return endView{v.Number, v.Digest, v.FirstSeen, v.LastSeen, v.RouterOS}
}

func (e *env) runDiff(ctx context.Context, word string, ends []string, stat bool) error {
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written
	d, err := findArchived(ctx, r, word)
	if err != nil {
		return err
	}
	if len(ends) == 0 {
		if d.Versions == 1 {
			return fmt.Errorf("device %s has one version, of %s: there is nothing to compare it with", d.ID, moment(d.Changed))
		}
		ends = []string{"@-1"}
	}
	now := time.Now()
	var both [2]archive.Version
	for i, text := range append(ends, "")[:2] {
		if both[i], err = findVersion(ctx, r, d, text, now); err != nil {
			return err
		}
	}
	var old, new []byte
	if _, old, err = r.Normal(ctx, d.ID, archive.Which{Number: both[0].Number}); err == nil {
		_, new, err = r.Normal(ctx, d.ID, archive.Which{Number: both[1].Number})
	}
	if err != nil {
		return historyError(err)
	}
	return e.printDiff(ctx, d, both[0], both[1], old, new, stat)
}

func (e *env) printDiff(ctx context.Context, d archive.Device, from, to archive.Version, old, new []byte, stat bool) error {
	text := ""
	if !stat {
		text = routeros.Unified(old, new, nameVersion(from), nameVersion(to), diffContext)
	}
	if e.output == "json" {
		c := archive.Compare(from, to, old, new)
		view := diffView{d.ID, viewEnd(from), viewEnd(to), c.Added, c.Removed, c.Summary, viewVersion(to, c).Changes, &text}
		if stat {
			view.Diff = nil
		}
		return printJSON(e.out, view)
	}
	if from.Digest == to.Digest {
		_, err := fmt.Fprintf(e.err, "%s and %s of %s are equal\n", nameVersion(from), nameVersion(to), d.ID)
		return err
	}
	if stat {
		return e.printStat(d, from, to, archive.Compare(from, to, old, new))
	}
	return e.paged(ctx, func(w io.Writer) error { return writeDiff(w, text, e.outTerminal) })
}

// nameVersion names a version in headings.
func nameVersion(v archive.Version) string {
	return fmt.Sprintf("%s @%d %sZ", v.Device, v.Number, moment(v.FirstSeen))
}

// writeDiff colours a unified difference where it is for a terminal.
func writeDiff(w io.Writer, text string, terminal bool) error {
	if !terminal {
		_, err := io.WriteString(w, text)
		return err
	}
	headings := 2
	for line := range strings.Lines(text) {
		line, colour := visible(strings.TrimSuffix(line, "\n")), ""
		switch {
		case headings > 0:
			headings--
			colour = bold
		case strings.HasPrefix(line, "@@"):
			colour = cyan
		case strings.HasPrefix(line, "+"):
			colour = green
		case strings.HasPrefix(line, "-"):
			colour = red
		}
		if _, err := fmt.Fprintln(w, paint(colour != "", colour, line)); err != nil {
			return err
		}
	}
	return nil
}

// printStat lists the changes in words.
func (e *env) printStat(d archive.Device, from, to archive.Version, c archive.Comparison) error {
	_, err := fmt.Fprintf(e.out, "%s: @%d (%s) to @%d (%s): %s, %s\n", d.ID, from.Number, moment(from.FirstSeen), to.Number, moment(to.FirstSeen),
		plural(len(c.Changes), "change"), lineWords(c))
	for i := range c.Changes {
		_, wrote := fmt.Fprintf(e.out, "  %s\n", clip(visible(c.Changes[i].Summary), e.width()-2))
		err = errors.Join(err, wrote)
	}
	return err
}

func lineWords(c archive.Comparison) string {
	if n := lineCounts(c.Added, c.Removed); n != "-" {
		return n + " lines"
	}
	return "no line"
}
