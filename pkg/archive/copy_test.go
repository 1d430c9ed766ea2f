package archive_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// TestCopy copies an archive while its writer goes on: the copy is whole, closed to others, and may be written to.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir, to, ctx := t.TempDir(), filepath.Join(t.TempDir(), "new", "copy"), t.Context()
	s, err := archive.OpenSQLite(ctx, dir, archive.Options{})
	must(t, err)
	r := archivetest.NewRouter("r1", "riga", 20_000)
	put(t, s, r, 5)
	must(t, archive.CopySQLite(ctx, dir, to))
	put(t, s, archivetest.NewRouter("r2", "riga", 20_000), 1)
	must(t, s.Close())

	info, err := os.Stat(filepath.Join(to, "archive.db"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
	c, err := archive.OpenSQLite(ctx, to, archive.Options{})
	must(t, err)
	if d := damaged(t, c); len(d) > 0 {
		t.Errorf("damaged: %v", d)
	}
	stats, err := c.Stats(ctx)
	must(t, err)
	if stats.Devices != 1 || stats.Versions != 5 {
		t.Errorf("copied: %+v", stats)
	}
	put(t, c, archivetest.NewRouter("r3", "riga", 20_000), 2)
	must(t, c.Close())

	if err := archive.CopySQLite(ctx, dir, to); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over another one: %v", err)
	}
	if err := archive.CopySQLite(ctx, t.TempDir(), filepath.Join(to, "x")); !errors.Is(err, archive.ErrNone) {
		t.Errorf("of none: %v", err)
	}
	left, err := os.ReadDir(to)
	must(t, err)
	for _, e := range left {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}
