package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"
	"unicode/utf8"
)

// Seen implements Store.
func (s *SQLite) Seen(ctx context.Context, seen []Sighting) (bad []Sighting, err error) {
	type sighting struct {
		Sighting
		sum []byte
	}
	var good []sighting
	for _, g := range seen {
		sum, err := hex.DecodeString(g.Digest)
		if err != nil || len(sum) != sha256.Size || checkWhere(g.Device, g.Site, g.At) != nil || !word(g.Name) || !word(g.Tenant) {
			bad = append(bad, g)
			continue
		}
		good = append(good, sighting{g, sum})
	}
	return bad, s.write(ctx, "archive sightings", func(tx *transaction) error {
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		for _, g := range good {
			o, err := findOwner(ctx, tx, g.Device)
			if err != nil {
				return err
			}
			if o.id != 0 && nanos(g.At) <= o.floor {
				continue
			}
			if err := o.meet(ctx, tx, g.Sighting, revision); err != nil {
				return err
			}
			if err := lengthen(ctx, tx, o.id, g.sum, nanos(g.At)); err != nil {
				return err
			}
		}
		return nil
	})
}

func word(s string) bool { return len(s) <= WordMax && utf8.ValidString(s) }

// lengthen moves the last-seen time of the entry in force at that time, or keeps the sighting for the entry that it means.
func lengthen(ctx context.Context, tx *transaction, device int64, sum []byte, when int64) error {
	in, err := oneEntry(ctx, tx, "WHERE s.device = ? AND s.at <= ? ORDER BY s.at DESC, s.source DESC", device, when)
	if err != nil {
		return err
	}
	if in == nil || !bytes.Equal(in.sum, sum) && !bytes.Equal(in.source, sum) {
		return keepPending(ctx, tx, device, sum, when)
	}
	if in.seen >= when {
		return nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE snapshots SET seen_at = ? WHERE id = ?", when, in.id)
	return err
}

// keepPending keeps the newest of the sightings of one text: there are no more of them than texts.
func keepPending(ctx context.Context, tx *transaction, device int64, source []byte, when int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO pending (device, source, at) VALUES (?, ?, ?)
		ON CONFLICT (device, source) DO UPDATE SET at = max(at, excluded.at)`, device, source, when)
	return err
}

// meet makes the row of a device, or brings it up to date: the newest proof says where it is and what it is called.
// One that has another place or name by it, or is there again, gets the revision.
func (o *owner) meet(ctx context.Context, tx *transaction, g Sighting, revision int64) (err error) {
	when := nanos(g.At)
	if o.id == 0 {
		o.id, err = insert(ctx, tx, "INSERT INTO devices (device, site, name, tenant, first_at, proven_at) VALUES (?, ?, ?, ?, ?, ?)",
			g.Device, g.Site, g.Name, g.Tenant, when, when)
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE devices SET first_at = ? WHERE id = ? AND first_at > ?", when, o.id, when); err != nil {
		return err
	}
	if when < o.proven {
		return nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE devices SET site = ?, name = ?, tenant = ?, proven_at = ?,
		removed_at = CASE WHEN removed_at < ? THEN 0 ELSE removed_at END,
		revision = CASE WHEN site != ? OR name != ? OR removed_at BETWEEN 1 AND ? - 1 THEN ? ELSE revision END WHERE id = ?`,
		g.Site, g.Name, g.Tenant, when, when, g.Site, g.Name, when, revision, o.id)
	return err
}

// Remove implements Store.
func (s *SQLite) Remove(ctx context.Context, devices []string, when time.Time) error {
	return s.write(ctx, "mark removed devices", func(tx *transaction) error {
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		if when.IsZero() {
			return errors.New("the time is missing")
		}
		for _, id := range devices {
			if _, err := tx.ExecContext(ctx, "UPDATE devices SET removed_at = ?, revision = ? WHERE device = ? AND removed_at = 0 AND proven_at <= ?",
				nanos(when), revision, id, nanos(when)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Return implements Store.
func (s *SQLite) Return(ctx context.Context, devices []string) error {
	return s.write(ctx, "mark returned devices", func(tx *transaction) error {
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		for _, id := range devices {
			if _, err := tx.ExecContext(ctx, "UPDATE devices SET removed_at = 0, revision = ? WHERE device = ? AND removed_at > 0", revision, id); err != nil {
				return err
			}
		}
		return nil
	})
}
