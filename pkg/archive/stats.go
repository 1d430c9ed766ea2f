package archive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/confhaul/confhaul/pkg/fault"
)

// Stats implements Reader. It looks at every row once.
func (r *SQLiteReader) Stats(ctx context.Context) (s Stats, err error) {
	const step = "count archive"
	err = r.reading(ctx, step, func(tx *transaction) error {
		for query, to := range map[string][]any{
			"SELECT count(*), coalesce(sum(removed_at > 0), 0) FROM devices WHERE newest > 0": {&s.Devices, &s.Removed},
			"SELECT count(*) FROM quarantine":                                                 {&s.Quarantined},
			"SELECT coalesce(sum(length(data)), 0) FROM blobs":                                {&s.Stored},
			`SELECT count(*), coalesce(sum(coalesce(t.size, 0) + coalesce(r.size, 0)), 0) FROM snapshots s
				LEFT JOIN blobs t ON t.id = s.text LEFT JOIN blobs r ON r.id = s.raw WHERE s.head = 1`: {&s.Versions, &s.Bytes},
		} {
			if err := tx.QueryRowContext(ctx, query).Scan(to...); err != nil {
				return err
			}
		}
		var latest int64
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(sum(length(data)), 0) FROM latest").Scan(&latest); err != nil {
			return err
		}
		s.Stored += latest
		return nil
	})
	if err != nil {
		return s, err
	}
	for _, name := range []string{fileName, fileName + "-wal", fileName + "-shm"} {
		info, err := os.Stat(filepath.Join(r.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, fault.New(fault.Infrastructure, step, "%w", err)
		}
		s.Disk += info.Size()
	}
	if s.Disk > 0 && s.Bytes > 0 {
		s.Ratio = float64(s.Bytes) / float64(s.Disk)
	}
	return s, nil
}
