package mirror

import (
	"context"
	"strings"
	"testing"

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
