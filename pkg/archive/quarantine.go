package archive

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/confhaul/confhaul/pkg/fault"
)

// Quarantine implements Store.
func (s *SQLite) Quarantine(ctx context.Context, q Quarantined) error {
	const step = "quarantine message"
	if len(q.Data) > 2*TextMax {
		return fault.New(fault.TooLarge, step, "it has %d bytes, the limit is %d", len(q.Data), 2*TextMax)
	}
	data, err := pack(q.Data, nil)
	if err != nil {
		return fault.New(fault.Internal, step, "%w", err)
	}
	sum := sha256.Sum256(q.Data)
	return s.write(ctx, step, func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO quarantine (at, seq, reason, subject, site, device, size, sum, data)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			nanos(q.At), int64(q.Seq), cut(q.Reason, WordMax), cut(q.Subject, WordMax), cut(q.Site, WordMax), cut(q.Device, WordMax), len(q.Data), sum[:], data)
		return err
	})
}

// Quarantined implements Reader.
func (r *SQLiteReader) Quarantined(ctx context.Context) (out []Quarantined, err error) {
	err = each(ctx, r.read, func(rows *sql.Rows) error {
		var q Quarantined
		var id, seq, when int64
		err := rows.Scan(&id, &when, &seq, &q.Reason, &q.Subject, &q.Site, &q.Device, &q.Size)
		q.ID, q.Seq, q.At = uint64(id), uint64(seq), at(when)
		out = append(out, q)
		return err
	}, "SELECT id, at, seq, reason, subject, site, device, size FROM quarantine ORDER BY id")
	return out, fail("list quarantine", err)
}

// QuarantinedData implements Reader.
func (r *SQLiteReader) QuarantinedData(ctx context.Context, id uint64) ([]byte, error) {
	l := link{id: int64(id)}
	err := r.read.QueryRowContext(ctx, "SELECT sum, size, data FROM quarantine WHERE id = ?", int64(id)).Scan(&l.sum, &l.size, &l.data)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("message %d is %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fail("read quarantine", err)
	}
	out, err := openChain([]link{l}, nil, nil)
	return out, fail("read quarantine", err)
}

// Discard implements Store.
func (s *SQLite) Discard(ctx context.Context, id uint64) error {
	return s.write(ctx, "discard quarantined message", func(tx *transaction) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM quarantine WHERE id = ?", int64(id))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return fmt.Errorf("message %d is %w", id, ErrNotFound)
	})
}
