package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"slices"
)

// chainMax bounds what is followed from text to base: 7 normal forms below 7 raw texts are 14.
const chainMax = 64

// chains reads blobs and all those that each rests on, by the id of the first. What is not there has no chain.
func chains(ctx context.Context, q querier, ids ...int64) (map[int64][]link, error) {
	out := make(map[int64][]link, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	list, err := idList(ids)
	if err != nil {
		return nil, err
	}
	err = each(ctx, q, func(rows *sql.Rows) error {
		var first int64
		var l link
		err := rows.Scan(&first, &l.id, &l.base, &l.place, &l.sum, &l.size, &l.data)
		out[first] = append(out[first], l)
		return err
	}, `WITH RECURSIVE c (first, level, id, base) AS (
			SELECT id, 0, id, base FROM blobs WHERE id IN (SELECT value FROM json_each(?))
			UNION ALL SELECT c.first, c.level + 1, b.id, b.base FROM c JOIN blobs b ON b.id = c.base WHERE c.level < ?
		) SELECT c.first, b.id, b.base, b.place, b.sum, b.size, b.data FROM c JOIN blobs b ON b.id = c.id ORDER BY c.first, c.level`,
		list, chainMax)
	return out, err
}

// chain reads one blob and all those that it rests on. Empty: there is no such blob.
func chain(ctx context.Context, q querier, id int64) ([]link, error) {
	all, err := chains(ctx, q, id)
	return all[id], err
}

// text reads what a blob holds.
func text(ctx context.Context, q querier, id int64) ([]byte, error) {
	links, err := chain(ctx, q, id)
	if err != nil {
		return nil, err
	}
	return openChain(links, nil, nil)
}

// part is one text of a snapshot on its way into blobs: what look finds, pack computes and write stores.
type part struct {
	content []byte
	sum     [sha256.Size]byte
	own     []byte // a raw text's normal form, which it is the difference from where it begins a row of them

	id    int64  // of the blob that holds it already; 0: it is new
	links []link // of that blob, or of the base
	place int
	base  int64 // 0: whole; onOwn: the blob of own

	data   []byte
	mended bool // the blob that holds it was damaged: data replaces it
}

const onOwn = -1

// look finds the blob of the text, or the base for a new one: from is the blob of the text before it, 0 where there is none.
func (p *part) look(ctx context.Context, q querier, device, from int64) error {
	err := q.QueryRowContext(ctx, "SELECT id FROM blobs WHERE device = ? AND sum = ?", device, p.sum[:]).Scan(&p.id)
	switch {
	case err == nil:
		p.links, err = chain(ctx, q, p.id)
		return err
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	var links []link
	if from != 0 {
		if links, err = chain(ctx, q, from); err != nil {
			return err
		}
	}
	p.rest(links)
	return nil
}

// rest chooses what the new text is kept as the difference from.
func (p *part) rest(links []link) {
	place, i := placeAfter(links)
	if p.place = place; i >= 0 {
		p.links = links[i:]
		p.base = p.links[0].id
	} else if p.links, p.base = nil, 0; p.own != nil {
		p.base = onOwn
	}
}

// pack computes what is stored. Bases that cannot be read keep no new text out: it is stored whole.
func (p *part) pack() (err error) {
	var dict []byte
	switch {
	case p.id != 0:
		have, err := openChain(p.links, nil, nil)
		if err == nil && bytes.Equal(have, p.content) {
			return nil
		}
		p.mended, p.place, p.base = true, 0, 0
	case p.base == onOwn:
		dict = p.own
	case p.base != 0:
		if dict, err = openChain(p.links, nil, nil); err != nil {
			p.place, p.base, dict = 0, 0, nil
		}
	}
	p.data, err = pack(p.content, dict)
	return err
}

// write stores it and gives the id of its blob; own is the blob of the snapshot's normal form.
func (p *part) write(ctx context.Context, tx *transaction, device, own int64) (int64, error) {
	base := p.base
	if base == onOwn {
		base = own
	}
	switch {
	case p.mended:
		_, err := tx.ExecContext(ctx, "UPDATE blobs SET base = 0, place = 0, size = ?, data = ? WHERE id = ?", len(p.content), p.data, p.id)
		return p.id, err
	case p.id != 0:
		return p.id, nil
	}
	return insert(ctx, tx, "INSERT INTO blobs (device, sum, size, base, place, data) VALUES (?, ?, ?, ?, ?, ?)",
		device, p.sum[:], len(p.content), base, p.place, p.data)
}

// whole says whether the text stands in its blob without a base.
func (p *part) whole() bool {
	if p.id != 0 && !p.mended {
		return len(p.links) > 0 && p.links[0].base == 0
	}
	return p.base == 0
}

func insert(ctx context.Context, tx *transaction, query string, args ...any) (int64, error) {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// sweep removes the blobs of a device that no snapshot refers to. What is kept as the difference from one of them is stored
// anew: the first normal form whole, the first raw text as the difference from its own normal form, the others from the first.
// What cannot be read keeps what it rests on, so that nothing is lost that might still be mended.
func sweep(ctx context.Context, tx *transaction, device int64) error {
	doomed := map[int64]bool{}
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		doomed[id] = true
		return err
	}, `SELECT id FROM blobs b WHERE device = ? AND NOT EXISTS (SELECT 1 FROM snapshots WHERE text = b.id)
		AND NOT EXISTS (SELECT 1 FROM snapshots WHERE raw = b.id AND raw > 0)`, device)
	if err != nil || len(doomed) == 0 {
		return err
	}
	if err := moveOff(ctx, tx, device, doomed); err != nil {
		return err
	}
	for id := range doomed {
		if _, err := tx.ExecContext(ctx, "DELETE FROM blobs WHERE id = ?", id); err != nil {
			return err
		}
	}
	return nil
}

type heir struct {
	id, own int64 // own: the normal form of the snapshot that it is the raw text of; 0: it is a normal form itself
}

// moveOff stores what rests on a doomed blob anew, and takes those out of doomed that damaged ones rest on.
func moveOff(ctx context.Context, tx *transaction, device int64, doomed map[int64]bool) error {
	var heirs []heir
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var h heir
		var base int64
		if err := rows.Scan(&h.id, &base, &h.own); err != nil {
			return err
		}
		if doomed[base] && !doomed[h.id] {
			heirs = append(heirs, h)
		}
		return nil
	}, `SELECT b.id, b.base, coalesce((SELECT CASE WHEN text = b.id THEN 0 ELSE text END FROM snapshots WHERE raw = b.id AND raw > 0 LIMIT 1), 0)
		FROM blobs b WHERE device = ? AND base > 0 ORDER BY b.id`, device)
	if err != nil {
		return err
	}
	first := map[bool]int64{} // by whether it is a raw text
	for _, h := range heirs {
		links, err := chain(ctx, tx, h.id)
		if err != nil {
			return err
		}
		content, err := openChain(links, nil, nil)
		if err != nil {
			for _, l := range links {
				delete(doomed, l.id)
			}
			continue
		}
		raw := h.own != 0
		base, place := first[raw], links[0].place
		if base == 0 {
			base, place, first[raw] = h.own, 0, h.id
		}
		if err := rebase(ctx, tx, h.id, content, base, place); err != nil {
			return err
		}
	}
	return nil
}

// rebase stores a text as the difference from another blob, whole where base is 0, cannot be read or rests on the text itself.
func rebase(ctx context.Context, tx *transaction, id int64, content []byte, base int64, place int) error {
	var dict []byte
	if base != 0 {
		links, err := chain(ctx, tx, base)
		if err != nil {
			return err
		}
		dict, err = openChain(links, nil, nil)
		if err != nil || slices.ContainsFunc(links, func(l link) bool { return l.id == id }) {
			base, place, dict = 0, 0, nil
		}
	}
	data, err := pack(content, dict)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE blobs SET base = ?, place = ?, data = ? WHERE id = ?", base, place, data, id)
	return err
}
