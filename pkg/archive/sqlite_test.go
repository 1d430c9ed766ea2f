package archive_test

import (
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

func open(t testing.TB, dir string) *archive.SQLite {
	t.Helper()
	s, err := archive.OpenSQLite(t.Context(), dir, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	archivetest.TestStore(t, func(t *testing.T, dir string) archive.Store { return open(t, dir) })
}
