package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// busy is an archive that goes on while it is mirrored.
type busy struct {
	archive.Store
	after func(device string) // has been read
}

func (b *busy) History(ctx context.Context, device string, fn func(archive.Version, []byte) error) error {
	err := b.Store.History(ctx, device, fn)
	b.after(device)
	return err
}

// TestBusyArchive: what is stored while an update reads the histories one after the other has its commits all the same.
func TestBusyArchive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b := archivetest.NewRouter("a", "x", 2000), archivetest.NewRouter("b", "x", 2000)
	next := func(minute int) {
		a.Change()
		b.Change()
		h.put(a.Snapshot(at(minute)), b.Snapshot(at(minute)))
	}
	next(0)
	h.update(2)
	next(1)
	times := 0
	src := &busy{h.store, func(device string) {
		if times++; times <= 2 {
			next(1 + times)
		}
	}}
	commits := 0
	m := New(src, h.dir)
	for range 3 {
		r, err := m.Update(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		commits += r.Commits
	}
	h.equals()
	log := h.git(h.clone(), "log", "--format=%s %(trailers:key=Digest,valueonly)")
	if commits != 6 || strings.Contains(log, "another form") {
		t.Errorf("%d commits, want 6:\n%s", commits, log)
	}
	for _, id := range []string{"a", "b"} {
		if err := h.store.History(h.ctx, id, func(v archive.Version, _ []byte) error {
			if !strings.Contains(log, v.Digest) {
				t.Errorf("%s @%d has no commit", id, v.Number)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNamesPassedOn: names that move between devices by sightings alone, without any change of a text.
func TestNamesPassedOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	routers := map[string]*archivetest.Router{}
	var snaps []archive.Snapshot
	for _, id := range []string{"a", "b", "c"} {
		routers[id] = archivetest.NewRouter(id, "x", 2000)
		snaps = append(snaps, routers[id].Snapshot(at(0)))
	}
	h.put(snaps...)
	h.update(3)
	m := New(h.store, h.dir)
	follow := func() {
		t.Helper()
		if _, err := m.Update(h.ctx); err != nil {
			t.Fatal(err)
		}
		h.equals()
	}
	follow()
	call := func(minute int, names map[string]string) {
		t.Helper()
		var seen []archive.Sighting
		for i, id := range []string{"a", "b", "c"} {
			if names[id] != "" {
				seen = append(seen, archive.Sighting{Device: snaps[i].Device, Site: snaps[i].Site, Name: names[id], Tenant: "default", Digest: snaps[i].Digest, At: at(minute)})
			}
		}
		if bad, err := h.store.Seen(h.ctx, seen); err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		follow()
	}
	call(1, map[string]string{"a": "one", "b": "two", "c": "three"})
	call(2, map[string]string{"a": "two", "b": "one"})                // swapped
	call(3, map[string]string{"a": "three", "b": "two", "c": "four"}) // each the next one's
	if err := h.store.Remove(h.ctx, []string{snaps[0].Device}, at(4)); err != nil {
		t.Fatal(err)
	}
	follow()
	call(5, map[string]string{"a": "three"}) // and it is there again
}

// TestLeftovers: what a killed git left keeps no later one from its work, and does not stay.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := archivetest.NewRouter("a", "x", 2000)
	h.put(r.Snapshot(at(0)))
	h.update(1)
	left := []string{"refs/heads/main.lock", "objects/pack/tmp_pack_AbCdEf", "objects/pack/tmp_idx_AbCdEf", "fast_import_crash_4711"}
	for _, name := range left {
		path, then := filepath.Join(h.dir, name), time.Now().Add(-2*importTimeout)
		if err := errors.Join(os.WriteFile(path, []byte("half"), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	r.Change()
	h.put(r.Snapshot(at(1)))
	if err := os.WriteFile(filepath.Join(h.dir, "objects/pack/tmp_pack_young"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.update(1)
	if _, err := os.Stat(filepath.Join(h.dir, "objects/pack/tmp_pack_young")); err != nil {
		t.Error(err)
	}
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(h.dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// forgetful is an archive that loses the texts between the plan and the import.
type forgetful struct {
	archive.Store
	reads int
}

func (f *forgetful) History(ctx context.Context, device string, fn func(archive.Version, []byte) error) error {
	if f.reads++; f.reads > 1 {
		return fmt.Errorf("device %s: %w", device, archive.ErrDamaged)
	}
	return f.Store.History(ctx, device, fn)
}

// TestCauseOfFailure: git's complaint about a stream that ends early is not what went wrong.
func TestCauseOfFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.put(archivetest.NewRouter("a", "x", 2000).Snapshot(at(0)))
	_, err := New(&forgetful{Store: h.store}, h.dir).Update(h.ctx)
	if !errors.Is(err, archive.ErrDamaged) {
		t.Error(err)
	}
}

// TestPlaces: a directory that is written with a slash, and a device whose name and id have no letter.
func TestPlaces(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := archivetest.Snapshot("...", at(0), []byte("/ip address\nadd address=10.0.0.1/24\n"))
	s.Name = ".."
	h.put(s)
	if _, err := New(h.store, h.dir+"/").Update(h.ctx); err != nil {
		t.Fatal(err)
	}
	h.equals()
}
