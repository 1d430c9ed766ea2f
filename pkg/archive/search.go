package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"
)

const (
	searchDevices = 64      // of one batch
	searchBytes   = 4 << 20 // of a batch's texts, about: a batch that matches whole waits in memory for its turn
	searchNamed   = 10      // damaged texts that the error names
)

// batch is some devices of a search, and where their results go.
type batch struct {
	devices []int64
	done    chan found // of one
}

type found struct {
	hits    []hit
	damaged []error
}

type hit struct {
	stored
	text []byte
}

// Search implements Reader. The newest normal form of every device stands whole in one row; batches of them are read, opened
// and matched on all cores, and told in order.
func (r *SQLiteReader) Search(ctx context.Context, q SearchQuery, fn func(Version, []byte) error) error {
	const step = "search archive"
	batches, err := r.batches(ctx, q.Site)
	if err != nil {
		return fail(step, err)
	}
	workers := runtime.GOMAXPROCS(0)
	todo, order := make(chan batch), make(chan batch, 2*workers) // the second bounds what is ahead of fn
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(order)
		defer close(todo)
		for _, b := range batches {
			for _, to := range []chan batch{order, todo} {
				select {
				case to <- b:
				case <-gctx.Done():
					return gctx.Err()
				}
			}
		}
		return nil
	})
	for range workers {
		g.Go(func() error {
			var buf []byte
			for b := range todo {
				f, err := r.match(gctx, q, b, &buf)
				if err != nil {
					return err
				}
				b.done <- f
			}
			return nil
		})
	}
	t := teller{fn: fn}
	g.Go(func() error { return t.run(gctx, order) })
	err = g.Wait()
	switch {
	case t.told != nil:
		return t.told
	case err != nil:
		return fail(step, err)
	case len(t.damaged) > 0:
		return fail(step, fmt.Errorf("%d texts were left out: %w", len(t.damaged), errors.Join(t.damaged[:min(len(t.damaged), searchNamed)]...)))
	}
	return nil
}

// teller gives the caller's function what was found, in the order of the batches.
type teller struct {
	fn      func(Version, []byte) error
	told    error // of fn, which the caller gets as it is
	damaged []error
}

func (t *teller) run(ctx context.Context, order <-chan batch) error {
	for b := range order {
		var f found
		select {
		case f = <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		t.damaged = append(t.damaged, f.damaged...)
		for _, h := range f.hits {
			if err := ctx.Err(); err != nil {
				return err
			}
			if t.told = t.fn(h.Version, h.text); t.told != nil {
				return t.told
			}
		}
	}
	return nil
}

func (r *SQLiteReader) batches(ctx context.Context, site string) (out []batch, err error) {
	bytes := 0
	err = each(ctx, r.read, func(rows *sql.Rows) error {
		var id int64
		var size int
		if err := rows.Scan(&id, &size); err != nil {
			return err
		}
		if bytes += size; len(out) == 0 || bytes > searchBytes || len(out[len(out)-1].devices) == searchDevices {
			out = append(out, batch{done: make(chan found, 1)})
			bytes = size
		}
		last := &out[len(out)-1]
		last.devices = append(last.devices, id)
		return nil
	}, `SELECT d.id, coalesce(b.size, 0) FROM devices d LEFT JOIN snapshots s ON s.id = d.newest LEFT JOIN blobs b ON b.id = s.text
		WHERE d.newest > 0 AND (? = '' OR d.site = ?) ORDER BY d.site, d.name, d.device`, site, site)
	return out, err
}

// packed is a version with its text as it is stored.
type packed struct {
	stored
	device int64
	data   []byte // whole; nil: it has to be put together from its chain
}

func (r *SQLiteReader) match(ctx context.Context, q SearchQuery, b batch, buf *[]byte) (f found, err error) {
	err = r.read.within(ctx, func(tx *transaction) error { // one state for index, texts and bases
		rows, err := readBatch(ctx, tx, q, b.devices)
		if err != nil {
			return err
		}
		links, err := chains(ctx, tx, notWhole(rows)...)
		if err != nil {
			return err
		}
		for _, id := range b.devices {
			p, ok := rows[id]
			if !ok {
				continue // not yet there at that time, or removed meanwhile
			}
			content, err := p.open(ctx, tx, links[p.text], buf)
			if errors.Is(err, ErrDamaged) {
				f.damaged = append(f.damaged, fmt.Errorf("device %s, version %d: %w", p.Device, p.Number, err))
				continue
			} else if err != nil {
				return err
			}
			if q.Match != nil && !q.Match(p.Version, content) {
				continue
			}
			whole, err := versionOf(ctx, tx, p.row)
			if err != nil {
				return err
			}
			p.Version = whole
			f.hits = append(f.hits, hit{p.stored, append([]byte(nil), content...)})
		}
		return nil
	})
	return f, err
}

func notWhole(rows map[int64]packed) (ids []int64) {
	for _, p := range rows {
		if p.data == nil {
			ids = append(ids, p.text)
		}
	}
	return ids
}

// open gives the text, in buf where it stands whole. The digest is left out there: zstd has a checksum of its own.
func (p packed) open(ctx context.Context, q querier, links []link, buf *[]byte) ([]byte, error) {
	if p.data == nil {
		return openChain(links, nil, nil)
	}
	content, err := unpack((*buf)[:0], p.data, nil)
	if err != nil {
		return text(ctx, q, p.text) // its chain may do better
	}
	*buf = content
	return content, nil
}

// readBatch reads the versions that were in force, by device.
func readBatch(ctx context.Context, q querier, s SearchQuery, devices []int64) (map[int64]packed, error) {
	list, err := idList(devices)
	if err != nil {
		return nil, err
	}
	var args []any
	entry := "d.newest"
	if !s.At.IsZero() {
		entry = "(SELECT id FROM snapshots WHERE device = d.id AND at <= ? ORDER BY at DESC, source DESC LIMIT 1)"
		args = append(args, nanos(s.At))
	}
	out := make(map[int64]packed, len(devices))
	err = each(ctx, q, func(rows *sql.Rows) error {
		var p packed
		var first, archived int64
		var sum []byte
		err := rows.Scan(&p.device, &p.Device, &p.row, &p.text, &p.raw, &p.Site, &p.Name, &p.Tenant, &p.Number, &first, &archived, &p.Normalization,
			&p.RouterOS, &p.Proof, &p.Model, &p.Serial, &p.Identity, &sum, &p.Size, &p.data)
		p.FirstSeen, p.Archived, p.Digest = at(first), at(archived), hexDigest(sum)
		out[p.device] = p
		return err
	}, `SELECT d.id, d.device, h.id, h.text, h.raw, h.site, h.name, h.tenant, h.number, h.at, h.archived_at, h.normalization,
			h.routeros, h.proof, h.model, h.serial, h.identity, coalesce(b.sum, x''), coalesce(b.size, 0),
			CASE WHEN l.text = h.text THEN l.data WHEN b.base = 0 THEN b.data END
		FROM devices d JOIN snapshots s ON s.id = `+entry+` JOIN snapshots h ON h.device = s.device AND h.number = s.number AND h.head = 1
		LEFT JOIN blobs b ON b.id = h.text LEFT JOIN latest l ON l.device = d.id
		WHERE d.id IN (SELECT value FROM json_each(?))`, append(args, list)...)
	return out, err
}
