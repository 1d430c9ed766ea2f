package archive_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// TestMain is also the writing child of TestKilled and the holder of TestLocked.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ARCHIVE_CHILD"); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func after(n int) time.Time { return archivetest.Start.Add(time.Duration(n) * time.Minute) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put stores so many versions of a router.
func put(t testing.TB, s archive.Store, r *archivetest.Router, versions int) (all []archive.Snapshot) {
	t.Helper()
	for i := range versions {
		all = append(all, r.Snapshot(after(i)))
		r.Change()
	}
	results, err := s.Put(t.Context(), all)
	must(t, err)
	for _, r := range results {
		must(t, r.Err)
	}
	return all
}

// damaged lists what Verify finds.
func damaged(t testing.TB, r archive.Reader) (out []archive.Damage) {
	t.Helper()
	_, err := r.Verify(t.Context(), func(d archive.Damage) error {
		out = append(out, d)
		return nil
	})
	must(t, err)
	return out
}

// edit changes the file of a closed archive behind its back.
func edit(t testing.TB, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "archive.db"))
	must(t, err)
	for _, s := range statements {
		_, err := db.Exec(s)
		must(t, err)
	}
	must(t, db.Close())
}
