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
