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
	"github.com/confhaul/confhaul/pkg/routeros"
)

func (e *env) archiveCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "archive", Short: "Count, verify and look after the archive", Args: args(cobra.NoArgs), RunE: help,
		Long: `Count, verify and look after the archive. What only reads works beside an archiver; what writes (renormalize, retain,
quarantine --discard) needs the archive for itself: stop the archiver, or up.`,
	}
	dry := false
	retain := &cobra.Command{
		Use: "retain", Short: "Remove what the settings no longer keep, as the archiver does by itself", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return e.runExpired(cmd.Context())
			}
			return e.runRetain(cmd.Context())
		},
	}
	retain.Flags().BoolVar(&dry, "dry-run", false, "only list what would be removed; works beside an archiver")
	cmd.AddCommand(
		&cobra.Command{
			Use: "verify", Short: "Read and hash everything, and name what is damaged", Args: args(cobra.NoArgs),
			Long: `Read and hash everything that is stored, compare the index with it, and name what is damaged.

Exit codes: 0 all is as it was stored, 1 something is damaged.`,
			RunE: func(cmd *cobra.Command, _ []string) error { return e.runVerify(cmd.Context()) },
		},
		&cobra.Command{
			Use: "stats", Short: "Count what is stored", Args: args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return e.runStats(cmd.Context()) },
		},
		&cobra.Command{
			Use: "renormalize", Short: "Give older versions the normal form of this program", Args: args(cobra.NoArgs),
			Long: `Make the normal form of every version that has an older one anew, from its raw text. What was a change in the form alone
is a version no more. What has no raw text keeps its form. It may be interrupted and called again.`,
			RunE: func(cmd *cobra.Command, _ []string) error { return e.runRenormalize(cmd.Context()) },
		},
		retain, e.archiveCopyCmd(), e.mirrorCmd(), e.quarantineCmd(),
	)
	return cmd
}

// reading runs fn on the archive.
func (e *env) reading(ctx context.Context, fn func(r archive.Reader) error) error {
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	return errors.Join(historyError(fn(r)), historyError(r.Close()))
}

// writing runs fn on an archive that no other process writes.
func (e *env) writing(ctx context.Context, fn func(s archive.Store) error) error {
	set, err := e.settings()
	if err != nil {
		return err
	}
	s, err := app.OpenHistoryWriter(ctx, set)
	if err != nil {
		return historyError(err)
	}
	return errors.Join(historyError(fn(s)), historyError(s.Close()))
}

// damageView is a damage as JSON.
type damageView struct {
	ID       string `json:"id,omitempty"` // of the device; absent: the file as a whole
	Versions []int  `json:"versions"`
	What     string `json:"what"`
	Error    string `json:"error"`
}

type verifyView struct {
	Devices  int          `json:"devices"`
	Versions int          `json:"versions"`
	Texts    int          `json:"texts"`
	Bytes    int64        `json:"bytes"`
	Damaged  int          `json:"damaged"`
	Damage   []damageView `json:"damage"`
}

func (e *env) runVerify(ctx context.Context) error {
	return e.reading(ctx, func(r archive.Reader) error {
		damage := []damageView{}
		v, err := r.Verify(ctx, func(d archive.Damage) error {
			view := damageView{d.Device, d.Numbers, d.What, d.Err.Error()}
			if view.Versions == nil {
				view.Versions = []int{}
			}
			if e.output == "json" {
				damage = append(damage, view)
				return nil
			}
			return e.printDamage(view)
		})
		if err != nil {
			return err
		}
		if e.output == "json" {
			err = printJSON(e.out, verifyView{v.Devices, v.Versions, v.Texts, v.Bytes, v.Damaged, damage})
		} else {
			verdict := paint(e.outTerminal, green, "all is as it was stored")
			if v.Damaged > 0 {
				verdict = paint(e.outTerminal, red, plural(v.Damaged, "damage")+" found") + ": keep the files as they are, and restore a copy"
			}
			_, err = fmt.Fprintf(e.out, "%s, %s, %s with %s: %s\n", plural(v.Devices, "device"), plural(v.Versions, "version"), plural(v.Texts, "text"), bytesText(v.Bytes), verdict)
		}
		if err == nil && v.Damaged > 0 {
			err = &exitError{code: exitFailure}
		}
		return err
	})
}

func (e *env) printDamage(d damageView) error {
	where := "the file"
	if d.ID != "" {
		where = "device " + d.ID
	}
	const most = 10
	for i, n := range d.Versions {
		if i == most {
			where += fmt.Sprintf(" and %d more", len(d.Versions)-most)
			break
		}
		where += " @" + strconv.Itoa(n)
	}
	_, err := fmt.Fprintf(e.out, "%s: %s: %s\n", paint(e.outTerminal, red, where), d.What, d.Error)
	return err
}

type statsView struct {
	Devices     int     `json:"devices"`
	Removed     int     `json:"removed"`
	Versions    int     `json:"versions"`
	Quarantined int     `json:"quarantined"`
	Bytes       int64   `json:"bytes"`  // of all texts, as if each were a file
	Stored      int64   `json:"stored"` // of these texts as they are kept
	Disk        int64   `json:"disk"`   // of the files
	Ratio       float64 `json:"ratio"`  // bytes by disk
	Directory   string  `json:"directory"`
}

func (e *env) runStats(ctx context.Context) error {
	set, err := e.settings()
	if err != nil {
		return err
	}
	return e.reading(ctx, func(r archive.Reader) error {
		s, err := r.Stats(ctx)
		if err != nil {
			return err
		}
		v := statsView{s.Devices, s.Removed, s.Versions, s.Quarantined, s.Bytes, s.Stored, s.Disk, s.Ratio, set.ArchiveDir()}
		if e.output == "json" {
			return printJSON(e.out, v)
		}
		perVersion := int64(0)
		if v.Versions > 0 {
			perVersion = v.Disk / int64(v.Versions)
		}
		for _, f := range []struct{ name, value string }{
			{"directory", v.Directory},
			{"devices", fmt.Sprintf("%d, of them %d removed from the inventory", v.Devices, v.Removed)},
			{"versions", strconv.Itoa(v.Versions)},
			{"texts", fmt.Sprintf("%s, normal and raw, kept in %s", bytesText(v.Bytes), bytesText(v.Stored))},
			{"disk", fmt.Sprintf("%s, %s per version; the texts are %.1f times that", bytesText(v.Disk), bytesText(perVersion), v.Ratio)},
			{"quarantined", fmt.Sprintf("%d (archive quarantine)", v.Quarantined)},
		} {
			if _, err := fmt.Fprintf(e.out, "%-12s %s\n", f.name, f.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// bytesText is a size with the largest unit that fits.
func bytesText(n int64) string {
	const k = 1024
	for _, unit := range []struct {
		size int64
		name string
	}{{k * k * k, "GiB"}, {k * k, "MiB"}, {k, "KiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

type renormalizeView struct {
	Normalization int      `json:"normalization_version"`
	Snapshots     int      `json:"snapshots"` // that have the new form
	Merged        int      `json:"merged"`    // versions that were none
	Left          int      `json:"left"`      // snapshots that keep the old form
	Damaged       []string `json:"damaged"`   // devices with raw texts that cannot be read
}

func (e *env) runRenormalize(ctx context.Context) error {
	return e.writing(ctx, func(s archive.Store) error {
		done, err := s.Renormalize(ctx, archive.Normalizer{Version: routeros.NormalizationVersion, Func: routeros.Normalize})
		if err != nil {
			return err
		}
		v := renormalizeView{routeros.NormalizationVersion, done.Snapshots, done.Merged, done.Left, append([]string{}, done.Damaged...)}
		if e.output == "json" {
			err = printJSON(e.out, v)
		} else {
			_, err = fmt.Fprintf(e.out, "normal form %d: %s made anew, %s merged, %d left as they were: they have no raw text that can be read\n",
				v.Normalization, plural(v.Snapshots, "snapshot"), plural(v.Merged, "version"), v.Left)
		}
		if err == nil && len(v.Damaged) > 0 {
			err = &exitError{exitFailure, fmt.Errorf("damaged raw texts of %s: confhaul archive verify", list(v.Damaged, 5))}
		}
		return err
	})
}

// expiredView is a version that is no longer kept, as JSON.
type expiredView struct {
	ID        string    `json:"id"`
	Site      string    `json:"site"`
	Number    int       `json:"version"`
	Digest    string    `json:"sha256_hash"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
	Bytes     int       `json:"bytes"`
}

func (e *env) runExpired(ctx context.Context) error {
	set, err := e.settings()
	if err != nil {
		return err
	}
	p := app.KeptByHistory(set)
	return e.reading(ctx, func(r archive.Reader) error {
		views := []expiredView{}
		err := r.Expired(ctx, p, time.Now(), func(v archive.Version) error {
			views = append(views, expiredView{v.Device, v.Site, v.Number, v.Digest, v.FirstSeen, v.LastSeen, v.Size})
			return nil
		})
		if err != nil {
			return err
		}
		if e.output == "json" {
			return printJSON(e.out, views)
		}
		return e.printExpired(views, p)
	})
}

func (e *env) printExpired(views []expiredView, p archive.Policy) error {
	_, err := fmt.Fprintf(e.out, "kept: %s\nwould be removed: %s\n", policyWords(p), plural(len(views), "version"))
	if err != nil || len(views) == 0 {
		return err
	}
	rows := [][]string{}
	for _, v := range views[:min(len(views), statusRowsMax)] {
		rows = append(rows, []string{v.ID, v.Site, "@" + strconv.Itoa(v.Number), moment(v.FirstSeen), moment(v.LastSeen), bytesText(int64(v.Bytes))})
	}
	_, _ = fmt.Fprintln(e.out)
	e.fitTable([]string{"DEVICE", "SITE", "@", "FIRST SEEN (UTC)", "LAST SEEN", "SIZE"}, rows)
	if left := len(views) - len(rows); left > 0 {
		_, err = fmt.Fprintf(e.out, "and %d more (-o json lists all)\n", left)
	}
	return err
}

// policyWords says what a policy keeps.
func policyWords(p archive.Policy) string {
	words := "every version"
	switch {
	case p.Versions > 0 && p.Age > 0:
		words = fmt.Sprintf("the newest %s of a device, as far as not replaced over %s ago", plural(p.Versions, "version"), age(p.Age))
	case p.Versions > 0:
		words = fmt.Sprintf("the newest %s of a device", plural(p.Versions, "version"))
	case p.Age > 0:
		words = fmt.Sprintf("versions that were not replaced over %s ago", age(p.Age))
	}
	if p.Removed > 0 {
		return words + fmt.Sprintf("; of a device removed from the inventory, for %s", age(p.Removed))
	}
	return words + "; of removed devices too"
}

func (e *env) runRetain(ctx context.Context) error {
	set, err := e.settings()
	if err != nil {
		return err
	}
	p := app.KeptByHistory(set)
	return e.writing(ctx, func(s archive.Store) error {
		done, err := s.Retain(ctx, p, time.Now())
		if err != nil {
			return err
		}
		if e.output == "json" {
			return printJSON(e.out, struct {
				Versions int `json:"versions"`
				Devices  int `json:"devices"` // removed ones of which nothing is left
			}{done.Versions, done.Devices})
		}
		_, err = fmt.Fprintf(e.out, "kept: %s\nremoved: %s; nothing is left of %s\n", policyWords(p), plural(done.Versions, "version"), plural(done.Devices, "removed device"))
		return err
	})
}
