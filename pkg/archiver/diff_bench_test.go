package archiver

import (
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// BenchmarkDiff makes the event of a one-line change of a 100 KB export.
func BenchmarkDiff(b *testing.B) {
	r := archivetest.NewRouter("r", "a", 100_000)
	old := r.Snapshot(archivetest.Start).Normal
	r.Change()
	text := r.Snapshot(archivetest.Start).Normal
	b.ReportAllocs()
	b.SetBytes(int64(len(old) + len(text)))
	for b.Loop() {
		if _, err := newDiff(archive.Version{}, archive.Version{}, old, text); err != nil {
			b.Fatal(err)
		}
	}
}
