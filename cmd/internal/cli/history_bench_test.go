package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// fillFleet stores five versions of many devices with 10 KB each, the last of them within a day for one in twenty, and 100
// versions of one device with 100 KB.
func fillFleet(b *testing.B, dir string, devices int) {
	b.Helper()
	s, err := archive.OpenSQLite(b.Context(), dir, archive.Options{})
	if err != nil {
		b.Fatal(err)
	}
	put := func(snaps []archive.Snapshot) {
		if _, err := s.Put(b.Context(), snaps); err != nil {
			b.Fatal(err)
		}
	}
	const group, versions = 500, 5
	now := time.Now()
	for from := 0; from < devices; from += group {
		var routers []*archivetest.Router
		for i := from; i < min(from+group, devices); i++ {
			routers = append(routers, archivetest.NewRouter(fmt.Sprintf("d%05d", i), fmt.Sprintf("s%d", i%10), 10_000))
		}
		for n := range versions {
			var snaps []archive.Snapshot
			for i, r := range routers {
				at := now.Add(-time.Duration(versions-n) * 100 * time.Hour)
				if n == versions-1 && i%20 == 0 {
					at = now.Add(-time.Duration(i+1) * time.Minute)
				}
				snaps = append(snaps, r.Snapshot(at))
				r.Change()
			}
			put(snaps)
		}
	}
	large := archivetest.NewRouter("large", "s1", 100_000)
	for n := range 100 {
		put([]archive.Snapshot{large.Snapshot(now.Add(-time.Duration(200-n) * time.Hour))})
		large.Change()
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHistory runs whole commands, from the opening of the archive to the last line, on 10,000 devices.
func BenchmarkHistory(b *testing.B) {
	data := b.TempDir()
	fillFleet(b, data+"/archive", 10_000)
	for _, command := range []string{
		"log d01234", "log large", "log large -o json", "show d01234", "show large @1", "show large @100", "diff large", "diff large @1 @100 --stat",
		"changes", "changes -o json", "changes --since 1w", "changes --since 4w", "search allow.0123456", "search (?i)LIST-3.*udp", "search list-(3|4)$", "search allow.0123456 --at 1w",
		"export large --out -", "archive stats", "archive retain --dry-run",
	} {
		b.Run(command, func(b *testing.B) {
			for b.Loop() {
				var out, errOut lockedBuffer
				e := &env{in: strings.NewReader(""), out: &out, err: &errOut, getenv: func(string) string { return "" }}
				if code := e.execute(b.Context(), append(strings.Fields(command), "--data", data, "--redis", "127.0.0.1:1")); code != exitOK {
					b.Fatal(errOut.String())
				}
			}
		})
	}
}
