package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
	"github.com/confhaul/confhaul/pkg/fault"
)

type house struct {
	*testing.T
	ctx   context.Context
	store archive.Store
	dir   string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	store, err := archive.OpenSQLite(ctx, filepath.Join(t.TempDir(), "archive"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &house{t, ctx, store, filepath.Join(t.TempDir(), "mirror.git")}
}

func (h *house) put(snaps ...archive.Snapshot) {
	h.Helper()
	results, err := h.store.Put(h.ctx, snaps)
	if err != nil {
		h.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			h.Fatal(r.Err)
		}
	}
}

// update expects so many commits, and that nothing is left to do after them.
func (h *house) update(commits int) {
	h.Helper()
	for _, want := range []int{commits, 0} {
		r, err := New(h.store, h.dir).Update(h.ctx)
		if err != nil {
			h.Fatal(err)
		}
		if r.Commits != want {
			h.Errorf("%d commits, want %d", r.Commits, want)
		}
	}
	h.equals()
}

// git runs plain git on a clone, as anybody does.
func (h *house) git(dir string, args ...string) string {
	h.Helper()
	cmd := exec.CommandContext(h.ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("git %v: %v: %s", args, err, out)
	}
	return string(out)
}

func (h *house) clone() string {
	h.Helper()
	dir := h.TempDir()
	h.git(dir, "clone", "--quiet", h.dir, "clone")
	return filepath.Join(dir, "clone")
}

// equals holds every file of a clone against the archive.
func (h *house) equals() {
	h.Helper()
	h.git(h.dir, "fsck", "--strict", "--no-dangling")
	devices, err := h.store.Devices(h.ctx, archive.DeviceQuery{})
	if err != nil {
		h.Fatal(err)
	}
	clone, wanted := h.clone(), paths(devices)
	for id, path := range wanted {
		_, want, err := h.store.Normal(h.ctx, id, archive.Which{})
		if err != nil {
			h.Fatal(err)
		}
		if have, err := os.ReadFile(filepath.Join(clone, path)); err != nil || !bytes.Equal(have, want) {
			h.Errorf("%s is not the newest version of %s: %v", path, id, err)
		}
	}
	if files := strings.Count(h.git(clone, "ls-files", "-z"), "\x00"); files != len(wanted) {
		h.Errorf("%d files of %d devices", files, len(wanted))
	}
}

func at(minute int) time.Time { return archivetest.Start.Add(time.Duration(minute) * time.Minute) }

// TestMirror follows an archive of three routers, and looks at what plain git says.
func TestMirror(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.update(0)
	a, b, c := archivetest.NewRouter("edge", "oslo", 3000), archivetest.NewRouter("core", "riga", 3000), archivetest.NewRouter("gone", "riga", 3000)
	h.put(a.Snapshot(at(0)), b.Snapshot(at(1)), c.Snapshot(at(2)))
	h.update(3)
	before := a.Snapshot(at(3))
	a.Change()
	b.Change()
	changed := a.Snapshot(at(5))
	h.put(before, changed, b.Snapshot(at(4)))
	before.CollectedAt = at(6) // and back again
	h.put(before)
	h.update(3)

	clone := h.clone()
	log := strings.Split(strings.TrimSpace(h.git(clone, "log", "--reverse", "--format=%s|%at|%(trailers:key=Digest,valueonly,separator=)")), "\n")
	want := []archive.Snapshot{a.Snapshot(at(0)), b.Snapshot(at(1)), c.Snapshot(at(2)), b.Snapshot(at(4)), changed, before}
	want[0].Digest, want[1].Digest = before.Digest, log2digest(log[1])
	for i, line := range log {
		f := strings.Split(line, "|")
		if len(log) != len(want) || !strings.HasPrefix(f[0], want[i].Name+": ") || f[1] != fmt.Sprint(want[i].CollectedAt.Unix()) || f[2] != want[i].Digest {
			t.Errorf("commit %d is %q, want that of %s at %d with %s", i, line, want[i].Name, want[i].CollectedAt.Unix(), want[i].Digest)
		}
	}
	if author := h.git(clone, "log", "-1", "--format=%an"); author != "confhaul\n" {
		t.Errorf("author %q", author)
	}

	if err := h.store.Remove(h.ctx, []string{"gone"}, at(7)); err != nil {
		t.Fatal(err)
	}
	moved := b.Snapshot(at(8))
	moved.Site, moved.Name = "oslo", "core of riga/2"
	b.Change()
	next := b.Snapshot(at(9))
	next.Site, next.Name = moved.Site, moved.Name
	h.put(moved, next)
	h.update(3) // it goes, it moves, it changes
	clone = h.clone()
	if n := strings.Count(h.git(clone, "log", "--follow", "--format=%h", "--", "oslo/core_of_riga_2"), "\n"); n != 4 {
		t.Errorf("the moved router has %d commits, want its 3 changes and the move", n)
	}
	history := h.git(clone, "rev-list", "--count", "HEAD")
	r, err := New(h.store, h.dir).Rebuild(h.ctx)
	if err != nil || r.Devices != 2 {
		t.Fatalf("rebuilt %+v, %v (before: %s commits)", r, err, history)
	}
	h.update(0)
}

// log2digest is the digest in a line of the log.
func log2digest(line string) string { return line[strings.LastIndexByte(line, '|')+1:] }

// TestKilledImport ends an import before git has heard the end: the repository stays as it was, and the next update does it all.
func TestKilledImport(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := archivetest.NewRouter("a", "oslo", 3000)
	h.put(a.Snapshot(at(0)))
	h.update(1)
	a.Change()
	h.put(a.Snapshot(at(1)), archivetest.NewRouter("b", "oslo", 3000).Snapshot(at(2)))
	if _, err := New(failing{h.store}, h.dir).Update(h.ctx); err == nil {
		t.Fatal("no error although the archive could not be read to its end")
	}
	if n := strings.TrimSpace(h.git(h.dir, "rev-list", "--count", "HEAD")); n != "1" {
		t.Errorf("%s commits after a failed update", n)
	}
	h.update(2)
}

// failing cannot read a device's texts for the second time.
type failing struct{ archive.Reader }

func (f failing) History(ctx context.Context, device string, fn func(archive.Version, []byte) error) error {
	if err := f.Reader.History(ctx, device, fn); err != nil || device == "a" {
		return err
	}
	return fault.New(fault.Infrastructure, "read", "the disk is gone")
}

// TestForeignRepository writes to nothing that it has not made.
func TestForeignRepository(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	foreign := t.TempDir()
	h.git(foreign, "init", "--quiet", "--bare", ".")
	for _, dir := range []string{foreign, filepath.Dir(foreign)} {
		if _, err := New(h.store, dir).Update(h.ctx); fault.KindOf(err) != fault.Rejected {
			t.Errorf("update of a foreign directory: %v", err)
		}
		if _, err := New(h.store, dir).Rebuild(h.ctx); fault.KindOf(err) != fault.Rejected {
			t.Errorf("rebuild of a foreign directory: %v", err)
		}
	}
}

// TestPush sends the mirror to another repository, and goes over what is there only where it is told to.
func TestPush(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := archivetest.NewRouter("a", "oslo", 3000)
	h.put(a.Snapshot(at(0)))
	remote := t.TempDir()
	h.git(remote, "init", "--quiet", "--bare", "--initial-branch="+Branch, ".")
	m := New(h.store, h.dir)
	same := func() bool {
		return h.git(h.dir, "rev-parse", Branch) == h.git(remote, "rev-parse", Branch)
	}
	push := func(force bool) error {
		t.Helper()
		if _, err := m.Update(h.ctx); err != nil {
			t.Fatal(err)
		}
		return m.Push(h.ctx, remote, force)
	}
	for range 2 {
		if err := push(false); err != nil || !same() {
			t.Fatalf("the remote is another, %v", err)
		}
		a.Change()
		h.put(a.Snapshot(at(1)))
	}
	other := h.clone()
	h.git(other, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "--allow-empty", "-m", "by hand")
	h.git(other, "push", "--quiet", remote, Branch)
	a.Change()
	h.put(a.Snapshot(at(2)))
	if err := push(false); fault.KindOf(err) != fault.Infrastructure || same() {
		t.Errorf("it went over the work of somebody else: %v", err)
	}
	if err := push(true); err != nil || !same() {
		t.Errorf("forced: %v", err)
	}
	if err := m.Push(h.ctx, filepath.Join(remote, "none"), false); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("to nowhere: %v", err)
	}
}

// TestManyUpdates: however often it is written, the repository stays small, and an update without news does nothing.
func TestManyUpdates(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := archivetest.NewRouter("a", "oslo", 20_000)
	m := New(h.store, h.dir)
	const updates = 12
	for i := range updates {
		a.Change()
		h.put(a.Snapshot(at(i)))
		for _, want := range []int{1, 0} {
			if r, err := m.Update(h.ctx); err != nil || r.Commits != want {
				t.Fatalf("update %d: %+v, %v", i, r, err)
			}
		}
	}
	h.equals()
	if loose := h.git(h.dir, "count-objects"); !strings.HasPrefix(loose, "0 objects") {
		t.Errorf("left loose: %s", loose)
	}
	packs, err := filepath.Glob(filepath.Join(h.dir, "objects", "pack", "*.pack"))
	if err != nil || len(packs) > 4 {
		t.Errorf("%d packs, %v", len(packs), err)
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	dev := func(id, site, name string) archive.Device {
		return archive.Device{ID: id, Site: site, Name: name, Versions: 1}
	}
	removed := dev("r", "a", "same")
	removed.Removed = at(0)
	got := paths([]archive.Device{
		dev("1", "a", "same"), dev("2", "a", "same"), dev("3", "b", "same"), removed, dev("4", "a", "../.git"), {ID: "5", Site: "a", Name: "nothing stored"},
	})
	want := map[string]string{"1": "a/same@1", "2": "a/same@2", "3": "b/same", "4": "a/_.git"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// BenchmarkRebuild writes 100 routers with 20 versions of 100 KB each, and tells what a version takes on the disk.
func BenchmarkRebuild(b *testing.B) {
	const routers, versions = 100, 20
	ctx := context.Background()
	store, err := archive.OpenSQLite(ctx, filepath.Join(b.TempDir(), "archive"), archive.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	for i := range routers {
		r := archivetest.NewRouter(fmt.Sprint("r", i), "oslo", 100_000)
		snaps := make([]archive.Snapshot, versions)
		for v := range snaps {
			r.Change()
			snaps[v] = r.Snapshot(at(v))
		}
		if _, err := store.Put(ctx, snaps); err != nil {
			b.Fatal(err)
		}
	}
	dir := filepath.Join(b.TempDir(), "mirror.git")
	for b.Loop() {
		if _, err := New(store, dir).Rebuild(ctx); err != nil {
			b.Fatal(err)
		}
	}
	var size int64
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, ierr := e.Info()
			if ierr != nil {
				return ierr
			}
			size += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(size)/routers/versions, "disk-B/version")
	b.ReportMetric(float64(b.Elapsed().Seconds())/float64(b.N)/routers/versions*1e6, "us/version")
}

// TestDamage: a device that cannot be read keeps no other one out, and is named until it can be.
func TestDamage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b := archivetest.NewRouter("a", "oslo", 3000), archivetest.NewRouter("b", "oslo", 3000)
	h.put(a.Snapshot(at(0)), b.Snapshot(at(1)))
	m := New(damagedA{h.store}, h.dir)
	for _, want := range []Report{{Commits: 1, Devices: 2}, {}} {
		if r, err := m.Update(h.ctx); r != want || !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), "device a") {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if r, err := m.Rebuild(h.ctx); r.Commits != 1 || !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("rebuilt: %+v, %v", r, err)
	}
	if err := h.store.Remove(h.ctx, []string{"a"}, at(2)); err != nil {
		t.Fatal(err)
	}
	if r, err := m.Update(h.ctx); err != nil {
		t.Errorf("without the device: %+v, %v", r, err)
	}
	a.Change()
	h.put(a.Snapshot(at(3)))
	m.src = h.store
	if r, err := m.Update(h.ctx); r.Commits != 1 || err != nil { // what was in the archive before needs a rebuild
		t.Errorf("mended: %+v, %v", r, err)
	}
	h.equals()
}

type damagedA struct{ archive.Reader }

func (d damagedA) History(ctx context.Context, device string, fn func(archive.Version, []byte) error) error {
	if device == "a" {
		return fmt.Errorf("device a: %w", archive.ErrDamaged)
	}
	return d.Reader.History(ctx, device, fn)
}
