package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/archive"
)

type searchOptions struct{ at, site string }

func (e *env) searchCmd() *cobra.Command {
	o := searchOptions{}
	cmd := &cobra.Command{
		Use: "search REGEX", Short: "Search the configurations of the whole fleet",
		Long: `Search the newest configuration of every device of the inventory, or with --at the one that was in force then, line by
line. What fits is printed as DEVICE:LINE: TEXT, with -o json as one object per line. The expression is RE2's, as in (?i)telnet for either
case; a line is a whole command of the export, however the router had wrapped it. Mind that lines can hold secrets.
--at takes ` + timeForms + `.`,
		Example: `  confhaul search 'action=accept .*dst-port=23\b'
  confhaul search '^/ip service' --at 2026-11-24 --site riga`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runSearch(cmd.Context(), a[0], o) },
	}
	cmd.Flags().StringVar(&o.at, "at", "", "the state of this `time`")
	cmd.Flags().StringVar(&o.site, "site", "", "only devices that are on this `site`")
	return cmd
}

// foundView is a line that fits, as JSON.
type foundView struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Site   string `json:"site"`
	Number int    `json:"version"`
	Line   int    `json:"line"`
	Text   string `json:"text"`
}

func (e *env) runSearch(ctx context.Context, expression string, o searchOptions) error {
	s, err := newSearcher(expression)
	if err != nil {
		return usage(err)
	}
	q := archive.SearchQuery{Site: o.site}
	if o.at != "" {
		if q.At, err = parseTime(o.at, time.Now(), true); err != nil {
			return usage(fmt.Errorf("--at %w", err))
		}
	}
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written
	gone, err := removed(ctx, r, o.site, q.At)
	if err != nil {
		return err
	}
	q.Match = func(v archive.Version, text []byte) bool { return !gone[v.Device] && s.match(text) }
	w, lines := bufio.NewWriter(e.out), 0
	err = r.Search(ctx, q, func(v archive.Version, text []byte) error {
		return s.lines(text, func(n int, line []byte, from, to int) error {
			lines++
			return e.printFound(w, foundView{v.Device, v.Name, v.Site, v.Number, n, string(line)}, from, to)
		})
	})
	err = errors.Join(historyError(err), w.Flush())
	if lines == 0 && err == nil {
		_, err = fmt.Fprintln(e.err, "no line fits")
	}
	return err
}

// removed are the devices of the archive, or of a site, that had left the inventory at a time; zero: now.
func removed(ctx context.Context, r archive.Reader, site string, at time.Time) (map[string]bool, error) {
	devices, err := r.Devices(ctx, archive.DeviceQuery{Site: site})
	if err == nil && len(devices) == 0 && site != "" {
		err = noSite(site)
	}
	gone := map[string]bool{}
	for i := range devices {
		if d := &devices[i]; !d.Removed.IsZero() && (at.IsZero() || d.Removed.Before(at)) {
			gone[d.ID] = true
		}
	}
	return gone, historyError(err)
}

// printFound prints a line; from and to are what fits in it. A terminal gets no more than its width around that.
func (e *env) printFound(w *bufio.Writer, f foundView, from, to int) error {
	if e.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(f)
	}
	head := fmt.Sprintf("%s:%d: ", f.ID, f.Line)
	if !e.outTerminal {
		_, err := fmt.Fprintf(w, "%s%s\n", head, f.Text)
		return err
	}
	before, hit, after := around(f.Text, from, to, max(e.width()-len(head), widthMin/2))
	_, err := fmt.Fprintf(w, "%s%s%s%s\n", paint(true, cyan, head), before, paint(hit != "", red, hit), after)
	return err
}

// around cuts a line to n characters, such that what fits in it shows, or its beginning.
func around(line string, from, to, n int) (before, hit, after string) {
	b, h, a := []rune(visible(line[:from])), []rune(visible(line[from:to])), []rune(visible(line[to:]))
	if len(h) > n-2 {
		h = append(h[:n-3:n-3], '…')
	}
	room := n - len(h)
	left := min(len(b), max(room/2, room-len(a)))
	if left < len(b) {
		b = append([]rune{'…'}, b[len(b)-left+1:]...)
	}
	if right := room - left; right < len(a) {
		a = append(a[:max(right-1, 0):max(right-1, 0)], '…')
	}
	return string(b), string(h), string(a)
}
