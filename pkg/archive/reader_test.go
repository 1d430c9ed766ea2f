package archive_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// TestManyReaders: more goroutines than connections, each with questions that were not asked before.
func TestManyReaders(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "archive")
	s, err := archive.OpenSQLite(t.Context(), dir, archive.Options{})
	must(t, err)
	r := archivetest.NewRouter("r1", "a", 2000)
	put(t, s, r, 3)
	must(t, s.Close())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		reader, err := archive.OpenSQLiteReader(ctx, dir)
		must(t, err)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for _, which := range []archive.Which{{Number: 1 + i%3}, {At: after(i)}, {}} {
					if _, _, err := reader.Normal(ctx, "r1", which); err != nil {
						t.Error(err)
					}
				}
				if _, err := reader.Versions(ctx, "r1", 0, 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		must(t, reader.Close())
		if t.Failed() {
			return
		}
	}
}
