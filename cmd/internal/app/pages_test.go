package app

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
	"github.com/confhaul/confhaul/pkg/settings"
)

// TestComparisonsWaitForTheirTurn has as many comparisons in the making as there may be: others wait, and what was compared before
// is there all the same.
func TestComparisonsWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	s := settings.Default()
	s.Archive.Dir = t.TempDir()
	store, err := archive.OpenSQLite(t.Context(), s.Archive.Dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := archivetest.NewRouter("r1", "riga", 2000)
	first := r.Snapshot(time.Now().Add(-time.Hour))
	r.Change()
	if _, err := store.Put(t.Context(), []archive.Snapshot{first, r.Snapshot(time.Now())}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	h := newPageHistory(s)
	defer h.close()
	look := func(ctx context.Context) (diff error) {
		t.Helper()
		if _, err := h.Versions(t.Context(), "r1", 25); err != nil {
			t.Error(err)
		}
		_, diff = h.Diff(ctx, "r1", 1, 2, false)
		return diff
	}
	if err := look(t.Context()); err != nil || len(h.comparing) != 0 {
		t.Fatalf("%v; %d turns are not over", err, len(h.comparing))
	}
	for range comparisonsMax {
		h.comparing <- struct{}{}
	}
	gone := errors.New("the browser has gone")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(gone)
	if err := look(ctx); !errors.Is(err, gone) {
		t.Errorf("while others compare: %v", err)
	}
}
