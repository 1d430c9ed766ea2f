package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	retainStep = 100  // versions that one transaction removes
	vacuumStep = 1000 // pages that one transaction gives back to the disk
	vacuumFrom = 10   // percent of the file that may be free
)

// doomed are the versions of a device up to a number.
type doomed struct {
	device        int64
	from, upto    int // numbers
	all           bool
	newest, floor int64
}

// doomedSelect finds what a policy no longer keeps. A version goes by age when the one after it is as old: until then it was
// the state of some moment that is kept.
const doomedSelect = `SELECT id, dropped + 1, upto, gone, newest, last_at FROM (
	SELECT d.id, d.device, d.site, d.dropped, d.newest, n.at AS last_at, (d.removed_at > 0 AND d.removed_at <= @removed) AS gone,
		CASE WHEN d.removed_at > 0 AND d.removed_at <= @removed THEN n.number ELSE max(
			CASE WHEN @count > 0 THEN n.number - @count ELSE 0 END,
			coalesce((SELECT number FROM snapshots WHERE device = d.id AND at <= @cutoff ORDER BY at DESC, source DESC LIMIT 1), 0) - 1) END AS upto
	FROM devices d JOIN snapshots n ON n.id = d.newest)
	WHERE upto > dropped AND id BETWEEN @first AND @last ORDER BY id`

func findDoomed(ctx context.Context, q querier, p Policy, now time.Time, first, last int64, limit int) (out []doomed, err error) {
	if p.Age < 0 || p.Removed < 0 || p.Versions < 0 {
		return nil, errors.New("a retention policy has no negative limits")
	}
	var cutoff, removed int64
	if p.Age > 0 {
		cutoff = nanos(now.Add(-p.Age))
	}
	if p.Removed > 0 {
		removed = nanos(now.Add(-p.Removed))
	}
	err = each(ctx, q, func(rows *sql.Rows) error {
		var d doomed
		err := rows.Scan(&d.device, &d.from, &d.upto, &d.all, &d.newest, &d.floor)
		out = append(out, d)
		return err
	}, doomedSelect+" LIMIT @limit", sql.Named("removed", removed), sql.Named("count", p.Versions), sql.Named("cutoff", cutoff),
		sql.Named("first", first), sql.Named("last", last), sql.Named("limit", limit))
	return out, err
}

// Expired implements Reader.
func (r *SQLiteReader) Expired(ctx context.Context, p Policy, now time.Time, fn func(Version) error) error {
	const step = "read what has expired"
	all, err := findDoomed(ctx, r.read, p, now, 1, math.MaxInt64, -1)
	if err != nil {
		return fail(step, err)
	}
	for _, d := range all {
		var versions []stored
		err := selectVersions(ctx, r.read, func(s stored) error {
			versions = append(versions, s)
			return nil
		}, "WHERE h.device = ? AND h.head = 1 AND h.number <= ? ORDER BY h.number", d.device, d.upto)
		if err != nil {
			return fail(step, err)
		}
		for _, v := range versions {
			if err := fn(v.Version); err != nil {
				return err
			}
		}
	}
	return nil
}

// Retain implements Store.
func (s *SQLite) Retain(ctx context.Context, p Policy, now time.Time) (out Retained, err error) {
	const step = "remove what has expired"
	for first := int64(1); ; {
		// Outside of the writer's turn, for this looks at every device: each is looked at again in its own transaction.
		next, err := findDoomed(ctx, s.read, p, now, first, math.MaxInt64, retainStep)
		if err != nil {
			return out, fail(step, err)
		}
		if len(next) == 0 {
			break
		}
		for _, d := range next {
			if err := s.retainDevice(ctx, p, now, d.device, &out); err != nil {
				return out, err
			}
			first = d.device + 1
		}
	}
	return out, s.vacuum(ctx)
}

// retainDevice removes what has expired of one device, in steps.
func (s *SQLite) retainDevice(ctx context.Context, p Policy, now time.Time, device int64, out *Retained) error {
	for more := true; more; {
		n, gone := 0, false
		err := s.write(ctx, "remove what has expired", func(tx *transaction) error {
			still, err := findDoomed(ctx, tx, p, now, device, device, 1)
			if more = len(still) > 0; err != nil || !more {
				return err
			}
			d := still[0]
			if d.upto-d.from+1 > retainStep {
				d.upto, d.all = d.from+retainStep-1, false
			} else {
				more = false
			}
			n, gone = d.upto-d.from+1, d.all
			return drop(ctx, tx, d)
		})
		if err != nil {
			return err
		}
		out.Versions += n
		if gone {
			out.Devices++
		}
	}
	return nil
}

// drop removes versions from the beginning of a timeline. The row of a device stays, so that what was removed is not taken for
// new when it is put again.
func drop(ctx context.Context, tx *transaction, d doomed) error {
	var floor sql.NullInt64
	err := tx.QueryRowContext(ctx, "SELECT max(at) FROM snapshots WHERE device = ? AND number <= ?", d.device, d.upto).Scan(&floor)
	if err != nil {
		return err
	}
	revision, err := nextRevision(ctx, tx)
	if err != nil {
		return err
	}
	do := func(query string, args ...any) {
		if err == nil {
			_, err = tx.ExecContext(ctx, query, args...)
		}
	}
	do("DELETE FROM snapshots WHERE device = ? AND number <= ?", d.device, d.upto)
	do("UPDATE devices SET dropped = ?, floor_at = max(floor_at, ?), revision = ? WHERE id = ?", d.upto, floor.Int64, revision, d.device)
	do("DELETE FROM pending WHERE device = ? AND at <= ?", d.device, floor.Int64)
	if d.all {
		do("UPDATE devices SET newest = 0, floor_at = max(floor_at, proven_at) WHERE id = ?", d.device)
		do("DELETE FROM latest WHERE device = ?", d.device)
		do("DELETE FROM pending WHERE device = ?", d.device)
		do("DELETE FROM blobs WHERE device = ?", d.device)
		return err
	}
	if err != nil {
		return err
	}
	return sweep(ctx, tx, d.device)
}

// vacuum gives free pages back to the disk, where they are many: few are soon used again. A file that a tool has written anew,
// without auto_vacuum, gives none back.
func (s *SQLite) vacuum(ctx context.Context) error {
	for last := math.MaxInt; ; {
		var free, pages int
		s.mu.Lock()
		err := s.db.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free)
		if err == nil {
			err = s.db.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages)
		}
		enough := free*100 <= pages*vacuumFrom || free >= last
		last = free
		if err == nil && !enough {
			err = each(ctx, s.db, func(*sql.Rows) error { return nil }, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", vacuumStep))
		}
		s.mu.Unlock()
		if err != nil || enough {
			return fail("give back free pages", err)
		}
	}
}
