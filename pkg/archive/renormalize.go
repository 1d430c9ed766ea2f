package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"

	"github.com/confhaul/confhaul/pkg/fault"
)

// Renormalize implements Store. It looks at nothing but what has an older version, so that calling it again is quick.
func (s *SQLite) Renormalize(ctx context.Context, n Normalizer) (out Renormalized, err error) {
	const step = "renormalize archive"
	if n.Version < 1 || n.Func == nil {
		return out, fault.New(fault.Internal, step, "a normalizer has a version from 1 and a function")
	}
	for after := int64(0); ; {
		var device int64
		err := s.read.QueryRowContext(ctx, "SELECT coalesce(min(device), 0) FROM snapshots WHERE normalization < ? AND device > ?", n.Version, after).Scan(&device)
		if err != nil || device == 0 {
			return out, fail(step, err)
		}
		after = device
		var done Renormalized
		err = s.write(ctx, step, func(tx *transaction) (err error) {
			done, err = renormalize(ctx, tx, n, device)
			return err
		})
		if err != nil {
			return out, err
		}
		out.Snapshots += done.Snapshots
		out.Merged += done.Merged
		out.Left += done.Left
		out.Damaged = append(out.Damaged, done.Damaged...)
	}
}

// renormalize does one device.
func renormalize(ctx context.Context, tx *transaction, n Normalizer, device int64) (out Renormalized, err error) {
	type row struct {
		id, text, raw int64
		old           bool
	}
	var all []row
	err = each(ctx, tx, func(rows *sql.Rows) error {
		var r row
		err := rows.Scan(&r.id, &r.text, &r.raw, &r.old)
		all = append(all, r)
		return err
	}, "SELECT id, text, raw, normalization < ? FROM snapshots WHERE device = ? ORDER BY at, source", n.Version, device)
	if err != nil {
		return out, err
	}
	before, err := numberOf(ctx, tx, device)
	if err != nil {
		return out, err
	}
	damaged := false
	last := int64(0) // the normal form of the entry before
	for _, r := range all {
		if !r.old {
			last = r.text
			continue
		}
		raw, err := rawOf(ctx, tx, r.raw)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return out, err
		}
		damaged = damaged || err != nil
		var form []byte
		if err == nil && raw != nil {
			form = n.Func(nil, raw)
		}
		if len(form) == 0 || len(form) > TextMax { // of a raw text that is none, too: it must not keep all others out
			out.Left++
			last = r.text
			continue
		}
		if last, err = addText(ctx, tx, device, last, form); err != nil {
			return out, err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE snapshots SET text = ?, normalization = ? WHERE id = ?", last, n.Version, r.id); err != nil {
			return out, err
		}
		out.Snapshots++
	}
	if out.Snapshots > 0 {
		if err := settle(ctx, tx, device); err != nil {
			return out, err
		}
	}
	now, err := numberOf(ctx, tx, device)
	out.Merged = max(before-now, 0)
	if damaged {
		var name string
		if err := tx.QueryRowContext(ctx, "SELECT device FROM devices WHERE id = ?", device).Scan(&name); err != nil {
			return out, err
		}
		out.Damaged = append(out.Damaged, name)
	}
	return out, err
}

// rawOf is nil where there is no raw text.
func rawOf(ctx context.Context, q querier, id int64) ([]byte, error) {
	if id == 0 {
		return nil, nil
	}
	return text(ctx, q, id)
}

// addText stores a normal form, where the device has it not.
func addText(ctx context.Context, tx *transaction, device, from int64, content []byte) (int64, error) {
	p := part{content: bytes.Clone(content), sum: sha256.Sum256(content)}
	if err := p.look(ctx, tx, device, from); err != nil {
		return 0, err
	}
	if err := p.pack(); err != nil {
		return 0, err
	}
	return p.write(ctx, tx, device, 0)
}

func numberOf(ctx context.Context, q querier, device int64) (n int, err error) {
	err = q.QueryRowContext(ctx, "SELECT max(number) FROM snapshots WHERE device = ?", device).Scan(&n)
	return n, err
}

// settle brings everything that follows from the texts of a timeline up to date.
func settle(ctx context.Context, tx *transaction, device int64) error {
	o := owner{id: device}
	var newest, newestText int64
	err := tx.QueryRowContext(ctx, "SELECT d.dropped, d.newest, s.text FROM devices d JOIN snapshots s ON s.id = d.newest WHERE d.id = ?", device).
		Scan(&o.dropped, &newest, &newestText)
	if err != nil {
		return err
	}
	if err := renumber(ctx, tx, o); err != nil {
		return err
	}
	if err := sweep(ctx, tx, device); err != nil {
		return err
	}
	links, err := chain(ctx, tx, newestText)
	if err != nil {
		return err
	}
	content, err := openChain(links, nil, nil)
	if err == nil { // else the whole copy of before stays, if there is one
		var whole []byte
		if links[0].base != 0 {
			if whole, err = pack(content, nil); err != nil {
				return err
			}
		}
		if err := setLatest(ctx, tx, device, newest, newestText, whole); err != nil {
			return err
		}
	}
	revision, err := nextRevision(ctx, tx)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE devices SET revision = ? WHERE id = ?", revision, device)
	return err
}
