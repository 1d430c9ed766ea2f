package archive_test

import (
	"bytes"
	"fmt"
	"regexp"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// fill stores versions of many routers, each with one line changed, a version of 500 routers at a time.
func fill(t testing.TB, s archive.Store, devices, versions, size int) {
	t.Helper()
	const group = 500
	for from := 0; from < devices; from += group {
		var routers []*archivetest.Router
		for i := from; i < min(from+group, devices); i++ {
			routers = append(routers, archivetest.NewRouter(fmt.Sprintf("d%05d", i), fmt.Sprintf("s%d", i%10), size))
		}
		for n := range versions {
			var batch []archive.Snapshot
			for _, r := range routers {
				batch = append(batch, r.Snapshot(after(n)))
				r.Change()
			}
			_, err := s.Put(t.Context(), batch)
			must(t, err)
		}
	}
}

// TestSize: a one-line change of a 100 KB export costs 1.3 KB on the disk, normal form, raw text, index and all.
func TestSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := archivetest.NewRouter("r", "a", 100_000)
	const first, versions = 2, 15
	grow := func(n int) archive.Stats {
		s := open(t, dir)
		put(t, s, r, n)
		must(t, s.Close()) // the log goes into the file
		reader, err := archive.OpenSQLiteReader(t.Context(), dir)
		must(t, err)
		stats, err := reader.Stats(t.Context())
		must(t, err)
		must(t, reader.Close())
		return stats
	}
	before, after := grow(first), grow(first+versions)
	if n := after.Versions - before.Versions; n != versions+first {
		t.Fatalf("%d versions", n)
	}
	disk := (after.Disk - before.Disk) / (versions + first)
	t.Logf("a version costs %d bytes on the disk, of them %d of texts", disk, (after.Stored-before.Stored)/(versions+first))
	if disk > 2500 {
		t.Errorf("a version costs %d bytes", disk)
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%dKB/batch%d", size/1000, batch), func(b *testing.B) {
				s := open(b, b.TempDir())
				var routers []*archivetest.Router
				for i := range batch {
					routers = append(routers, archivetest.NewRouter(fmt.Sprint("r", i), "a", size))
				}
				for n := 0; b.Loop(); n++ {
					b.StopTimer()
					var snaps []archive.Snapshot
					for _, r := range routers {
						snaps = append(snaps, r.Snapshot(after(n)))
						r.Change()
					}
					b.StartTimer()
					_, err := s.Put(b.Context(), snaps)
					must(b, err)
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "snapshots/s")
				must(b, s.Close())
			})
		}
	}
}

// BenchmarkRead asks an archive of 10,000 devices with 5 versions of 10 KB.
func BenchmarkRead(b *testing.B) {
	const devices, versions = 10_000, 5
	s := open(b, b.TempDir())
	fill(b, s, devices, versions, 10_000)
	stats, err := s.Stats(b.Context())
	must(b, err)
	b.Logf("%+v", stats)
	rare, words := []byte("allow 0123456"), regexp.MustCompile(`(?m)src-address-list=list-(3|4)\b.* comment="x`)
	search := func(b *testing.B, q archive.SearchQuery) {
		for b.Loop() {
			must(b, s.Search(b.Context(), q, func(archive.Version, []byte) error { return nil }))
		}
	}
	literal := func(_ archive.Version, text []byte) bool { return bytes.Contains(text, rare) }
	for name, fn := range map[string]func(b *testing.B){
		"search/latest/literal": func(b *testing.B) { search(b, archive.SearchQuery{Match: literal}) },
		"search/latest/regexp": func(b *testing.B) {
			search(b, archive.SearchQuery{Match: func(_ archive.Version, text []byte) bool { return words.Match(text) }})
		},
		"search/past/literal": func(b *testing.B) { search(b, archive.SearchQuery{At: after(3), Match: literal}) },
		"devices": func(b *testing.B) {
			for b.Loop() {
				_, err := s.Devices(b.Context(), archive.DeviceQuery{})
				must(b, err)
			}
		},
		"versions": func(b *testing.B) {
			for b.Loop() {
				_, err := s.Versions(b.Context(), "d01234", 0, 0)
				must(b, err)
			}
		},
		"normal/latest": func(b *testing.B) {
			for b.Loop() {
				_, _, err := s.Normal(b.Context(), "d01234", archive.Which{})
				must(b, err)
			}
		},
		"raw/first": func(b *testing.B) {
			for b.Loop() {
				_, _, err := s.Raw(b.Context(), "d01234", archive.Which{Number: 1})
				must(b, err)
			}
		},
		"changes/100": func(b *testing.B) {
			for b.Loop() {
				must(b, s.Changes(b.Context(), archive.ChangeQuery{Limit: 100}, func(archive.Version) error { return nil }))
			}
		},
		"retain/nothing": func(b *testing.B) {
			for b.Loop() {
				_, err := s.Retain(b.Context(), archive.Policy{Versions: 100}, after(9))
				must(b, err)
			}
		},
		"verify": func(b *testing.B) {
			for b.Loop() {
				if found := damaged(b, s); len(found) > 0 {
					b.Fatal(found)
				}
			}
		},
		"stats": func(b *testing.B) {
			for b.Loop() {
				_, err := s.Stats(b.Context())
				must(b, err)
			}
		},
	} {
		b.Run(name, fn)
	}
	must(b, s.Close())
}
