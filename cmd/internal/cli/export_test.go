package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

func TestExport(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	dir := t.TempDir()
	raw := func(n int) string { return p.run(exitOK, "show", "edge-7", "@"+itoa(n), "--raw").out }
	holds := func(path, want string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil || string(b) != want {
			t.Errorf("%s: %v %q", path, err, b)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	usual := filepath.Join(dir, "router-Edge_seven-20251124T100030Z.rsc")
	if o := p.run(exitOK, "export", "edge-7", "@3", "--out", dir); !contains(o.out, usual+": written, edge-7 @3 of 2025-11-24 10:00:30Z") {
		t.Error(o.out)
	}
	holds(usual, raw(3))
	if err := os.Chmod(usual, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := p.run(exitOK, "export", "edge-7", "@3", "--out", usual); !contains(o.out, "there already") {
		t.Error(o.out)
	}
	holds(usual, raw(3))
	if o := p.run(exitFailure, "export", "edge-7", "@2", "--out", usual); !contains(o.errOut, "--force") {
		t.Error(o.errOut)
	}
	holds(usual, raw(3))
	v := decode[exportView](t, p.run(exitOK, "export", "edge-7", "@2", "--out", usual, "--force", "-o", "json"))
	if v.File != usual || v.Number != 2 || v.Bytes != len(raw(2)) || v.Result != exportWritten {
		t.Errorf("%+v", v)
	}
	holds(usual, raw(2))
	if o := p.run(exitOK, "export", "edge-7", "--out", "-"); o.out != raw(4) {
		t.Error(o.out)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(usual, link); err != nil {
		t.Fatal(err)
	}
	p.run(exitFailure, "export", "edge-7", "--out", link, "--force")
	p.run(exitFailure, "export", "edge-7", "--out", filepath.Join(dir, "nowhere", "file"))
	holds(usual, raw(2))
	for _, args := range [][]string{{}, {"--all"}, {"--all", "--out", "-"}, {"edge-7", "--all", "--out", dir}, {"edge-7", "@77", "--out", dir}} {
		p.run(exitUsage, append([]string{"export"}, args...)...)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".confhaul-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}

// TestExportAll: names that two devices share, or that differ in their case alone, take no file from each other.
func TestExportAll(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	dir := filepath.Join(t.TempDir(), "all")
	if o := p.run(exitOK, "export", "--all", "--out", dir); !contains(o.out, "5 files written, 0 there") {
		t.Error(o.out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-20")
		names = append(names, name)
	}
	if got := strings.Join(names, " "); got != "router-Core@core-2 router-Core@core-3 router-Edge_seven router-core@core+1 router-edge-8" {
		t.Error(got)
	}
	if o := p.run(exitOK, "export", "--all", "--out", dir); !contains(o.out, "0 files written, 5 there already") {
		t.Error(o.out)
	}
	if v := decode[[]exportView](t, p.run(exitOK, "export", "--all", "--out", dir, "-o", "json")); len(v) != 5 || v[0].Result != exportSame {
		t.Errorf("%+v", v)
	}
	if err := os.WriteFile(filepath.Join(dir, entries[0].Name()), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := p.run(exitFailure, "export", "--all", "--out", dir); !contains(o.errOut, "device core-2") || !contains(o.out, "4 there already") || strings.Count(o.errOut, "\n") != 1 {
		t.Errorf("%s\n%s", o.out, o.errOut)
	}
	p.run(exitOK, "export", "--all", "--out", dir, "--force")
}

// TestWithoutRaw: a version without its raw text is no version without a text.
func TestWithoutRaw(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	p.write(func(ctx context.Context, s archive.Store) error {
		snap := archivetest.Snapshot("plain", configTimes[0], []byte(configs[0]))
		snap.Raw = nil
		_, err := s.Put(ctx, []archive.Snapshot{snap})
		return err
	})
	for _, args := range [][]string{{"export", "plain", "--out", "-"}, {"export", "--all", "--out", t.TempDir()}} {
		if o := p.run(exitFailure, args...); !contains(o.errOut, "without its raw text") {
			t.Errorf("%v: %s", args, o.errOut)
		}
	}
	p.run(exitOK, "show", "plain")
}

// interrupting is an archive whose reader is interrupted with the first text in hand.
type interrupting struct {
	archive.Reader
	interrupt func()
}

func (r interrupting) Raw(ctx context.Context, device string, which archive.Which) (archive.Version, []byte, error) {
	v, raw, err := r.Reader.Raw(ctx, device, which)
	r.interrupt()
	return v, raw, err
}

// TestExportInterrupted: some of the files are no success, even if none was cut.
func TestExportInterrupted(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	p.write(func(ctx context.Context, s archive.Store) error {
		devices, err := s.Devices(ctx, archive.DeviceQuery{})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		views, failed, err := writeExports(ctx, interrupting{s, cancel}, devices, exportOptions{out: t.TempDir()})
		if exitCode(err) != exitFailure || len(views) != 1 || len(failed) != 0 || !strings.Contains(err.Error(), "after 1 of") {
			t.Errorf("%d files, %v, %v", len(views), failed, err)
		}
		return nil
	})
}
