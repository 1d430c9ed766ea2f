package archive_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
	"github.com/confhaul/confhaul/pkg/fault"
)

const versions = 20

// TestDamage breaks what is stored, and expects that Verify names it, that all else is read, and that new snapshots are kept.
func TestDamage(t *testing.T) {
	t.Parallel()
	const first = "(SELECT text FROM snapshots WHERE number = 1)"
	flip := func(table, where string) string {
		return "UPDATE " + table + " SET data = substr(data, 1, length(data)/2) || x'5a5a' || substr(data, length(data)/2 + 3) WHERE " + where
	}
	for name, tc := range map[string]struct {
		edit    string
		what    string
		numbers int // of versions that Verify names
		newest  bool
	}{
		"whole text":       {flip("blobs", "id = "+first), "normal raw", versions, true},
		"difference":       {flip("blobs", "id = (SELECT text FROM snapshots WHERE number = 18)"), "normal", 1, true},
		"raw":              {flip("blobs", "id = (SELECT raw FROM snapshots WHERE number = 18)"), "raw", 1, true},
		"missing":          {"DELETE FROM blobs WHERE id = (SELECT text FROM snapshots WHERE number = 17)", "normal", 4, true},
		"another's text":   {"UPDATE snapshots SET text = (SELECT text FROM snapshots WHERE number = 3) WHERE number = 4", "index", 1, true},
		"swapped":          {"UPDATE blobs SET sum = randomblob(32) WHERE id = (SELECT text FROM snapshots WHERE number = 18)", "index normal", 1, true},
		"number":           {"UPDATE snapshots SET number=99 WHERE number = 5", "index", 2, true},
		"latest":           {flip("latest", "device = 1"), "latest", 1, false},
		"rests on itself":  {"UPDATE blobs SET base = id WHERE id = (SELECT text FROM snapshots WHERE number = 18)", "normal", 1, true},
		"newest is wrong":  {"UPDATE devices SET newest = newest - 1 WHERE id = 1", "index latest", 2, true},
		"times":            {"UPDATE snapshots SET seen_at = 1 WHERE number = 5", "index", 1, true},
		"the missing last": {"DELETE FROM blobs WHERE id = (SELECT text FROM snapshots WHERE number = 20); DELETE FROM latest", "normal", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			r := archivetest.NewRouter("r", "a", 1000)
			put(t, s, r, versions)
			put(t, s, archivetest.NewRouter("sound", "a", 1000), 2)
			must(t, s.Close())
			edit(t, dir, strings.ReplaceAll(tc.edit, "number = ", "device = 1 AND number = "))
			s = open(t, dir)
			found := damaged(t, s)
			var what []string
			numbers := map[int]bool{}
			for _, d := range found {
				what = append(what, d.What)
				for _, n := range d.Numbers {
					numbers[n] = true
				}
				if d.Device != "r" || !errors.Is(d.Err, archive.ErrDamaged) {
					t.Errorf("found %+v", d)
				}
			}
			slices.Sort(what)
			if got := strings.Join(slices.Compact(what), " "); got != tc.what || len(numbers) != tc.numbers {
				t.Errorf("found %s of the versions %v, want %s of %d", got, numbers, tc.what, tc.numbers)
			}
			for _, d := range found {
				for _, n := range d.Numbers {
					_, _, err := s.Normal(t.Context(), "r", archive.Which{Number: n})
					if d.What == "normal" && (!errors.Is(err, archive.ErrDamaged) || fault.KindOf(err) != fault.Internal) {
						t.Errorf("version %d is read: %v", n, err)
					}
				}
			}
			hits := 0
			err := s.Search(t.Context(), archive.SearchQuery{}, func(archive.Version, []byte) error { hits++; return nil })
			if name == "the missing last" {
				if hits != 1 || !errors.Is(err, archive.ErrDamaged) || !strings.Contains(err.Error(), "device r") {
					t.Errorf("search: %d hits, %v", hits, err)
				}
			} else if hits != 2 || err != nil {
				t.Errorf("search: %d hits, %v", hits, err)
			}
			keepsOn(t, s, r)
			must(t, s.Close())
		})
	}
}

// keepsOn puts more, old texts among them, and expects each to be read.
func keepsOn(t *testing.T, s archive.Store, r *archivetest.Router) {
	t.Helper()
	again := archivetest.NewRouter("r", "a", 1000)
	var more []archive.Snapshot
	for i := range 3 {
		r.Change()
		more = append(more, r.Snapshot(after(100+2*i)), again.Snapshot(after(101+2*i)))
		again.Change()
	}
	if _, err := s.Put(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	for _, m := range more {
		_, normal, err := s.Normal(t.Context(), "r", archive.Which{At: m.CollectedAt})
		if err != nil || string(normal) != string(m.Normal) {
			t.Errorf("put after the damage: %v", err)
		}
		_, raw, err := s.Raw(t.Context(), "r", archive.Which{At: m.CollectedAt})
		if err != nil || string(raw) != string(m.Raw) {
			t.Errorf("raw text put after the damage: %v", err)
		}
	}
	if _, err := s.Retain(t.Context(), archive.Policy{Versions: 10}, after(1000)); err != nil {
		t.Errorf("retain: %v", err)
	}
	if _, err := s.Renormalize(t.Context(), archive.Normalizer{Version: 2, Func: func(dst, raw []byte) []byte { return append(dst, raw...) }}); err != nil {
		t.Errorf("renormalize: %v", err)
	}
}

// TestDamagedFile overwrites pages of the file itself.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 15 {
		put(t, s, archivetest.NewRouter(fmt.Sprint("d", i), "a", 20_000), 2)
	}
	must(t, s.Close())
	path := filepath.Join(dir, "archive.db")
	b, err := os.ReadFile(path)
	must(t, err)
	for page := len(b) / 3 / 4096; page < len(b)/2/4096; page++ {
		copy(b[page*4096:], "this is not a page of a database")
	}
	must(t, os.WriteFile(path, b, 0o600))
	r, err := archive.OpenSQLiteReader(t.Context(), dir)
	must(t, err)
	found := damaged(t, r)
	devices := map[string]bool{}
	for _, d := range found {
		devices[d.Device] = true
	}
	if len(found) == 0 || len(devices) < 2 {
		t.Errorf("found %v", found)
	}
	must(t, r.Close())

	must(t, os.WriteFile(path, []byte(strings.Repeat("no database at all ", 1000)), 0o600))
	if _, err := archive.OpenSQLite(t.Context(), dir, archive.Options{}); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("open what is no database: %v", err)
	}
}

// TestDamageRests: retention leaves what a damaged text rests on, so that it opens again once it is mended.
func TestDamageRests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	all := put(t, s, archivetest.NewRouter("r", "a", 1000), versions)
	must(t, s.Close())
	const twelfth = "WHERE id IN (SELECT text FROM snapshots WHERE number = 12 UNION SELECT raw FROM snapshots WHERE number = 12)"
	edit(t, dir, "CREATE TABLE sound AS SELECT id, data FROM blobs "+twelfth, "UPDATE blobs SET data = zeroblob(50) "+twelfth)
	s = open(t, dir)
	_, err := s.Retain(t.Context(), archive.Policy{Versions: versions - 11}, after(100))
	must(t, err)
	if found := damaged(t, s); len(found) != 2 {
		t.Errorf("found %v", found)
	}
	must(t, s.Close())
	edit(t, dir, "UPDATE blobs SET data = (SELECT data FROM sound WHERE sound.id = blobs.id) "+twelfth, "DROP TABLE sound")
	s = open(t, dir)
	if found := damaged(t, s); len(found) > 0 {
		t.Errorf("mended, and found %v", found)
	}
	_, raw, err := s.Raw(t.Context(), "r", archive.Which{Number: 12})
	if err != nil || string(raw) != string(all[11].Raw) {
		t.Errorf("mended: %v", err)
	}
	must(t, s.Close())
}
