package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/archive"
)

type exportOptions struct {
	out        string
	all, force bool
}

func (e *env) exportCmd() *cobra.Command {
	o := exportOptions{}
	cmd := &cobra.Command{
		Use: "export DEVICE [@VERSION|@TIME] | --all --out DIR", Short: "Write a configuration into a file that the router can import",
		Long: `Write a configuration as the router printed it into a file that it can import: the newest one, or the one that is named.
Without --out the file is router-NAME-TIME.rsc in this directory, with the time in UTC at which the router first printed
it; --out names another file, a directory that is there, or - for standard output. With --all the newest one of every
device of the inventory goes into a directory. A file that is there already is left alone: that it holds the same text
is no error, anything else needs --force. Files hold the routers' secrets, and are readable by you alone (0600).
DEVICE is an id, or a name that no other device has.

` + atHelp,
		Example: `  confhaul export edge-7 @2d
  confhaul export --all --out backups`,
		Args: args(cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			switch {
			case o.all && len(a) > 0:
				return usage(errors.New("export: name a DEVICE, or --all"))
			case o.all && (o.out == "" || o.out == "-"):
				return usage(errors.New("export --all: name the directory with --out DIR"))
			case o.all:
				return e.runExportAll(cmd.Context(), o)
			case len(a) == 0:
				return usage(errors.New("export: name a DEVICE, or --all --out DIR"))
			}
			return e.runExport(cmd.Context(), a[0], strings.Join(a[1:], ""), o)
		},
	}
	cmd.Flags().StringVar(&o.out, "out", "", "`file` or directory; - is standard output")
	cmd.Flags().BoolVar(&o.all, "all", false, "the newest configuration of every device of the inventory")
	cmd.Flags().BoolVar(&o.force, "force", false, "write over files that are there")
	return cmd
}

// exportView is a written file as JSON.
type exportView struct {
	ID        string    `json:"id"`
	Number    int       `json:"version"`
	Digest    string    `json:"sha256_hash"` // of the normal form
	FirstSeen time.Time `json:"first_seen"`
	RouterOS  string    `json:"routeros_version"`
	File      string    `json:"file"`
	Bytes     int       `json:"bytes"`
	Result    string    `json:"result"` // written or same: it was there already
}

func (e *env) runExport(ctx context.Context, word, which string, o exportOptions) error {
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written to it
	d, err := findArchived(ctx, r, word)
	if err != nil {
		return err
	}
	v, err := findVersion(ctx, r, d, which, time.Now())
	if err != nil {
		return err
	}
	v, raw, err := r.Raw(ctx, d.ID, archive.Which{Number: v.Number})
	if errors.Is(err, archive.ErrNotFound) {
		return fmt.Errorf("%w; confhaul show %s @%d prints its normal form", historyError(err), d.ID, v.Number)
	} else if err != nil {
		return historyError(err)
	}
	if o.out == "-" {
		_, err = e.out.Write(raw)
		return err
	}
	path := o.out
	if info, err := os.Stat(path); path == "" || err == nil && info.IsDir() {
		path = filepath.Join(path, exportName(archive.FileNames([]archive.Device{d})[d.ID], v.FirstSeen))
	}
	view, err := writeExport(path, v, raw, o.force)
	if err != nil {
		return err
	}
	if e.output == "json" {
		return printJSON(e.out, view)
	}
	_, err = fmt.Fprintln(e.out, view)
	return err
}

func (v exportView) String() string {
	what := "written"
	if v.Result == exportSame {
		what = "there already, with the same text"
	}
	return fmt.Sprintf("%s: %s, %s @%d of %sZ, %d bytes", v.File, what, v.ID, v.Number, moment(v.FirstSeen), v.Bytes)
}

// The values of exportView.Result.
const (
	exportWritten = "written"
	exportSame    = "same"
)

func writeExport(path string, v archive.Version, raw []byte, force bool) (exportView, error) {
	view := exportView{v.Device, v.Number, v.Digest, v.FirstSeen, v.RouterOS, path, len(raw), exportWritten}
	same, err := writeNew(path, raw, force)
	if same {
		view.Result = exportSame
	}
	return view, err
}

// exportName is the name of the file of a device that archive.FileNames calls name.
func exportName(name string, at time.Time) string {
	return "router-" + name + "-" + at.UTC().Format("20060102T150405Z") + ".rsc"
}

// writeNew writes a file that this user alone can read, whole or not at all. One that is there already stays, unless force
// is set; same says that it holds the same text.
func writeNew(path string, text []byte, force bool) (same bool, err error) {
	have, err := os.Lstat(path)
	switch {
	case err == nil && !have.Mode().IsRegular():
		return false, fmt.Errorf("write %s: it is there and is no file (--out - is standard output)", path)
	case err == nil:
		if same, err := holds(path, have, text); same || err != nil {
			return same, err
		}
		if !force {
			return false, fmt.Errorf("write %s: it is there already, with another text: --force writes over it", path)
		}
	case !errors.Is(err, os.ErrNotExist):
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".confhaul-*") // which gives it mode 0600
	if err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return false, nil
}

// holds says whether a file has a text, and closes it to others then.
func holds(path string, have os.FileInfo, text []byte) (bool, error) {
	if have.Size() != int64(len(text)) {
		return false, nil
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("compare %s: %w", path, err)
	}
	if string(old) != string(text) {
		return false, nil
	}
	if have.Mode().Perm() != 0o600 {
		err = os.Chmod(path, 0o600)
	}
	return true, err
}

func (e *env) runExportAll(ctx context.Context, o exportOptions) error {
	r, err := e.history(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // nothing was written to it
	all, err := r.Devices(ctx, archive.DeviceQuery{})
	if err != nil {
		return historyError(err)
	}
	var devices []archive.Device
	for _, d := range all {
		if d.Removed.IsZero() && d.Versions > 0 {
			devices = append(devices, d)
		}
	}
	if err := os.MkdirAll(o.out, 0o700); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	views, failed, err := writeExports(ctx, r, devices, o)
	if err != nil {
		return err
	}
	err = e.printExports(views, o.out)
	if len(failed) > 0 {
		const most = 10
		more := len(failed) - most
		if failed = failed[:min(len(failed), most)]; more > 0 {
			failed = append(failed, fmt.Errorf("and %d more devices", more))
		}
		err = errors.Join(err, &exitError{exitFailure, errors.Join(failed...)})
	}
	return err
}

// writeExports writes the newest text of each device; err says that it was interrupted.
func writeExports(ctx context.Context, r archive.Reader, devices []archive.Device, o exportOptions) (views []exportView, failed []error, err error) {
	names := archive.FileNames(devices)
	views = []exportView{}
	for i, d := range devices {
		if ctx.Err() != nil {
			return views, failed, fmt.Errorf("export: interrupted after %d of %s: %w", i, plural(len(devices), "device"), context.Cause(ctx))
		}
		v, raw, err := r.Raw(ctx, d.ID, archive.Which{})
		if err == nil {
			var view exportView
			if view, err = writeExport(filepath.Join(o.out, exportName(names[d.ID], v.FirstSeen)), v, raw, o.force); err == nil {
				views = append(views, view)
			}
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("device %s: %w", d.ID, err))
		}
	}
	return views, failed, nil
}

func (e *env) printExports(views []exportView, dir string) error {
	if e.output == "json" {
		return printJSON(e.out, views)
	}
	same := 0
	for _, v := range views {
		if v.Result == exportSame {
			same++
		}
	}
	_, err := fmt.Fprintf(e.out, "%s: %s written, %d there already with the same text\n", dir, plural(len(views)-same, "file"), same)
	return err
}
