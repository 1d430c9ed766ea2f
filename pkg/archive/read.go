package archive

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// versionSelect reads versions by their first entries, h. What is missing in a damaged file is empty, so that the rest shows.
const versionSelect = `SELECT h.id, h.text, h.raw, d.device, h.site, h.name, h.tenant, h.number, coalesce(tb.sum, x''), h.at,
	(SELECT max(r.seen_at) FROM snapshots r WHERE r.device = h.device AND r.number = h.number), h.archived_at,
	coalesce((SELECT pb.sum FROM snapshots p JOIN blobs pb ON pb.id = p.text WHERE p.device = h.device AND p.number = h.number - 1 LIMIT 1), x''),
	coalesce(tb.size, 0), coalesce(rb.size, 0), h.normalization, h.routeros, h.proof, h.model, h.serial, h.identity,
	h.reason, h.attempt, h.gaps, h.seq
	FROM snapshots h JOIN devices d ON d.id = h.device LEFT JOIN blobs tb ON tb.id = h.text LEFT JOIN blobs rb ON rb.id = h.raw `

// stored is a version with where its texts are.
type stored struct {
	Version
	row, text, raw int64
}

func (s *stored) scan(row interface{ Scan(...any) error }) error {
	var sum, previous []byte
	var first, last, archived, seq int64
	var gaps string
	err := row.Scan(&s.row, &s.text, &s.raw, &s.Device, &s.Site, &s.Name, &s.Tenant, &s.Number, &sum, &first, &last, &archived, &previous,
		&s.Size, &s.RawSize, &s.Normalization, &s.RouterOS, &s.Proof, &s.Model, &s.Serial, &s.Identity, &s.Trigger, &s.Attempt, &gaps, &seq)
	if err != nil {
		return err
	}
	s.Digest, s.Previous, s.Seq = hexDigest(sum), hexDigest(previous), uint64(seq)
	s.FirstSeen, s.LastSeen, s.Archived = at(first), at(last), at(archived)
	if gaps != "" {
		if err := json.Unmarshal([]byte(gaps), &s.KnownGaps); err != nil {
			return fmt.Errorf("%w: known gaps of snapshot %d: %w", ErrDamaged, s.row, err)
		}
	}
	return nil
}

func selectVersions(ctx context.Context, q querier, fn func(stored) error, where string, args ...any) error {
	return each(ctx, q, func(rows *sql.Rows) error {
		var s stored
		if err := s.scan(rows); err != nil {
			return err
		}
		return fn(s)
	}, versionSelect+where, args...)
}

// versionOf is the version that an entry belongs to.
func versionOf(ctx context.Context, q querier, row int64) (Version, error) {
	var s stored
	err := s.scan(q.QueryRowContext(ctx, versionSelect+`WHERE h.head = 1 AND (h.device, h.number) = (SELECT device, number FROM snapshots WHERE id = ?)`, row))
	return s.Version, err
}

// reading runs fn on one state of the archive.
func (r *SQLiteReader) reading(ctx context.Context, step string, fn func(tx *transaction) error) error {
	return fail(step, r.read.within(ctx, fn))
}

func deviceRow(ctx context.Context, q querier, device string) (id int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT id FROM devices WHERE device = ? AND newest > 0", device).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("device %s: %w", device, ErrNotFound)
	}
	return id, err
}

// Versions implements Reader.
func (r *SQLiteReader) Versions(ctx context.Context, device string, before, limit int) (out []Version, err error) {
	err = r.reading(ctx, "read history", func(tx *transaction) error {
		id, err := deviceRow(ctx, tx, device)
		if err != nil {
			return err
		}
		if before <= 0 {
			before = 1 << 62
		}
		if limit <= 0 {
			limit = -1
		}
		return selectVersions(ctx, tx, func(s stored) error {
			out = append(out, s.Version)
			return nil
		}, "WHERE h.device = ? AND h.head = 1 AND h.number < ? ORDER BY h.number DESC LIMIT ?", id, before, limit)
	})
	return out, err
}

// Version implements Reader.
func (r *SQLiteReader) Version(ctx context.Context, device string, which Which) (v Version, err error) {
	err = r.reading(ctx, "read history", func(tx *transaction) error {
		s, err := find(ctx, tx, device, which)
		v = s.Version
		return err
	})
	return v, err
}

// Normal implements Reader.
func (r *SQLiteReader) Normal(ctx context.Context, device string, which Which) (v Version, out []byte, err error) {
	err = r.reading(ctx, "read version", func(tx *transaction) error {
		s, err := find(ctx, tx, device, which)
		if err != nil {
			return err
		}
		v = s.Version
		if out, err = text(ctx, tx, s.text); err != nil {
			return fmt.Errorf("device %s, version %d: %w", device, v.Number, err)
		}
		return nil
	})
	return v, out, err
}

// Raw implements Reader.
func (r *SQLiteReader) Raw(ctx context.Context, device string, which Which) (v Version, out []byte, err error) {
	err = r.reading(ctx, "read version", func(tx *transaction) error {
		s, err := find(ctx, tx, device, which)
		if err != nil {
			return err
		}
		v = s.Version
		if s.raw == 0 {
			return fmt.Errorf("device %s, version %d came without its raw text: %w", device, v.Number, ErrNotFound)
		}
		if out, err = text(ctx, tx, s.raw); err != nil {
			return fmt.Errorf("device %s, version %d: %w", device, v.Number, err)
		}
		return nil
	})
	return v, out, err
}

// find reads the version that which names.
func find(ctx context.Context, q querier, device string, which Which) (s stored, err error) {
	id, err := deviceRow(ctx, q, device)
	if err != nil {
		return s, err
	}
	const version = "WHERE h.device = ? AND h.head = 1 AND h.number = "
	const newest = "(SELECT number FROM snapshots WHERE id = (SELECT newest FROM devices WHERE id = h.device))"
	switch set := []bool{which.Number != 0, which.Digest != "", !which.At.IsZero()}; {
	case set[0] && set[1] || set[0] && set[2] || set[1] && set[2]:
		return s, fmt.Errorf("device %s: a version is named by its number, its digest or a time, not by several", device)
	case set[1]:
		return findDigest(ctx, q, device, id, which.Digest)
	case set[0]:
		err = s.scan(q.QueryRowContext(ctx, versionSelect+version+"?", id, which.Number))
	case set[2]:
		err = s.scan(q.QueryRowContext(ctx, versionSelect+version+
			"(SELECT number FROM snapshots WHERE device = h.device AND at <= ? ORDER BY at DESC, source DESC LIMIT 1)", id, nanos(which.At)))
	default:
		err = s.scan(q.QueryRowContext(ctx, versionSelect+version+newest, id))
	}
	if errors.Is(err, sql.ErrNoRows) {
		return s, missing(ctx, q, device, id, which)
	}
	return s, err
}

// missing says what there is instead.
func missing(ctx context.Context, q querier, device string, id int64, which Which) error {
	var first, last int
	var since int64
	err := q.QueryRowContext(ctx, "SELECT min(number), max(number), min(at) FROM snapshots WHERE device = ?", id).Scan(&first, &last, &since)
	if err != nil {
		return err
	}
	if which.Number != 0 {
		return fmt.Errorf("device %s has the versions %d to %d: version %d is %w", device, first, last, which.Number, ErrNotFound)
	}
	return fmt.Errorf("device %s, first version %d of %s: what was before is %w", device, first, at(since).Format(time.RFC3339), ErrNotFound)
}

// findDigest also takes the digest with which a version came before it was renormalized.
func findDigest(ctx context.Context, q querier, device string, id int64, prefix string) (s stored, err error) {
	prefix = strings.ToLower(prefix)
	if len(prefix) < DigestMin || len(prefix) > 64 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return s, fmt.Errorf("device %s: %q is not the beginning of a digest: use %d to 64 of 0-9 a-f: %w", device, prefix, DigestMin, ErrNotFound)
	}
	low, err := hex.DecodeString(prefix + strings.Repeat("0", 64-len(prefix)))
	if err != nil {
		return s, err
	}
	high, err := hex.DecodeString(prefix + strings.Repeat("f", 64-len(prefix)))
	if err != nil {
		return s, err
	}
	var found []stored
	err = selectVersions(ctx, q, func(s stored) error {
		if len(found) == 0 || found[0].Digest != s.Digest {
			found = append(found, s)
		}
		return nil
	}, "WHERE h.device = ? AND h.head = 1 AND (tb.sum BETWEEN ? AND ? OR h.source BETWEEN ? AND ?) ORDER BY h.number DESC", id, low, high, low, high)
	switch {
	case err != nil:
		return s, err
	case len(found) == 0:
		return s, fmt.Errorf("device %s: digest %s is %w", device, prefix, ErrNotFound)
	case len(found) > 1:
		return s, fmt.Errorf("device %s: digest %s: %w: %s and %s are two", device, prefix, ErrAmbiguous, found[0].Digest[:16], found[1].Digest[:16])
	}
	return found[0], nil
}

// History implements Reader.
func (r *SQLiteReader) History(ctx context.Context, device string, fn func(Version, []byte) error) error {
	const step = "read history"
	var all []stored
	err := r.reading(ctx, step, func(tx *transaction) error {
		id, err := deviceRow(ctx, tx, device)
		if err != nil {
			return err
		}
		return selectVersions(ctx, tx, func(s stored) error {
			all = append(all, s)
			return nil
		}, "WHERE h.device = ? AND h.head = 1 ORDER BY h.number", id)
	})
	if err != nil {
		return err
	}
	have := map[int64][]byte{} // the texts that the last one rests on: the next one rests on one of them
	for _, s := range all {
		links, err := chain(ctx, r.read, s.text)
		if err != nil {
			return fail(step, err)
		}
		if len(links) == 0 && r.gone(ctx, s.row) {
			continue // retention removed it meanwhile
		}
		now := map[int64][]byte{}
		for _, l := range links {
			if t := have[l.id]; t != nil {
				now[l.id] = t
			}
		}
		out, err := openChain(links, func(id int64) []byte { return now[id] }, func(id int64, text []byte) { now[id] = text })
		if err != nil {
			return fail(step, fmt.Errorf("device %s, version %d: %w", device, s.Number, err))
		}
		have = now
		if err := fn(s.Version, out); err != nil {
			return err
		}
	}
	return nil
}

func (r *SQLiteReader) gone(ctx context.Context, row int64) bool {
	var n int
	return r.read.QueryRowContext(ctx, "SELECT count(*) FROM snapshots WHERE id = ?", row).Scan(&n) == nil && n == 0
}

// changesPage is how many changes are read at once: a reader that waits for its user must not keep the log from being cut.
const changesPage = 100

// Changes implements Reader.
func (r *SQLiteReader) Changes(ctx context.Context, q ChangeQuery, fn func(Version) error) error {
	last := stored{row: 0}
	until := int64(1 << 62)
	if !q.Until.IsZero() {
		until = nanos(q.Until)
	}
	for told := 0; ; {
		limit := changesPage
		if q.Limit > 0 {
			limit = min(limit, q.Limit-told)
		}
		page := make([]stored, 0, limit)
		err := selectVersions(ctx, r.read, func(s stored) error {
			page = append(page, s)
			return nil
		}, "WHERE h.head = 1 AND h.at >= ? AND (h.at, h.id) < (?, ?) AND (? = '' OR h.site = ?) ORDER BY h.at DESC, h.id DESC LIMIT ?",
			nanos(q.Since), until, last.row, q.Site, q.Site, limit)
		if err != nil {
			return fail("read changes", err)
		}
		for _, last = range page {
			if err := fn(last.Version); err != nil {
				return err
			}
		}
		if told += len(page); len(page) < changesPage || told == q.Limit {
			return nil
		}
		until = nanos(last.FirstSeen)
	}
}
