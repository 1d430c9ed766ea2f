package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

const integrityMax = 100 // findings about the file's own structure

// verifier gathers what the checks of many devices find; fn is called by one at a time.
type verifier struct {
	mu  sync.Mutex
	out Verified
	fn  func(Damage) error

	told error // of fn, which the caller gets as it is
}

func (v *verifier) damage(d Damage) error {
	if !errors.Is(d.Err, ErrDamaged) {
		d.Err = fmt.Errorf("%w: %w", ErrDamaged, d.Err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.told == nil {
		v.out.Damaged++
		v.told = v.fn(d)
	}
	return v.told
}

// Verify implements Reader. Each device is read in one state of the archive, so that a writer may go on.
func (r *SQLiteReader) Verify(ctx context.Context, fn func(Damage) error) (Verified, error) {
	v := &verifier{fn: fn}
	err := r.verifyFile(ctx, v)
	if err == nil {
		err = r.verifyDevices(ctx, v)
	}
	if err == nil {
		err = r.verifyQuarantine(ctx, v)
	}
	if v.told != nil {
		return v.out, v.told
	}
	return v.out, fail("verify archive", err)
}

func (r *SQLiteReader) verifyDevices(ctx context.Context, v *verifier) error {
	type named struct {
		id   int64
		name string
	}
	var devices []named
	err := each(ctx, r.read, func(rows *sql.Rows) error {
		var d named
		err := rows.Scan(&d.id, &d.name)
		devices = append(devices, d)
		return err
	}, "SELECT id, device FROM devices ORDER BY id")
	if corrupt(err) {
		err = v.damage(Damage{What: "file", Err: err}) // the devices before the damage are gone through all the same
	}
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range devices {
		g.Go(func() error {
			err := r.read.within(gctx, func(tx *transaction) error {
				c := deviceCheck{v: v, id: d.id, name: d.name, versions: map[int64]map[int]bool{}, raw: map[int64]bool{}}
				return c.run(gctx, tx)
			})
			if corrupt(err) {
				return v.damage(Damage{Device: d.name, What: "file", Err: err})
			}
			return err
		})
	}
	return g.Wait()
}

// corrupt says that the file itself is damaged where it was read, which ends the reading of one device and not of all.
func corrupt(err error) bool { return err != nil && errors.Is(fail("", err), ErrDamaged) }

func (r *SQLiteReader) verifyFile(ctx context.Context, v *verifier) error {
	err := each(ctx, r.read, func(rows *sql.Rows) error {
		var what string
		if err := rows.Scan(&what); err != nil || what == "ok" {
			return err
		}
		return v.damage(Damage{What: "file", Err: errors.New(what)})
	}, fmt.Sprintf("PRAGMA integrity_check(%d)", integrityMax))
	if corrupt(err) {
		return v.damage(Damage{What: "file", Err: err})
	}
	return err
}

func (r *SQLiteReader) verifyQuarantine(ctx context.Context, v *verifier) error {
	all, err := r.Quarantined(ctx)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err != nil {
		return v.damage(Damage{What: "quarantine", Err: err})
	}
	for _, q := range all {
		_, err := r.QuarantinedData(ctx, q.ID)
		if errors.Is(err, ErrDamaged) {
			err = v.damage(Damage{Device: q.Device, What: "quarantine", Err: err})
		}
		if err != nil && !errors.Is(err, ErrNotFound) { // discarded meanwhile
			return err
		}
	}
	return nil
}

// deviceCheck is the verification of one device.
type deviceCheck struct {
	v        *verifier
	id       int64
	name     string
	entries  []checkedEntry
	versions map[int64]map[int]bool // blob to the numbers of the versions that use it
	raw      map[int64]bool         // blobs that are raw texts only

	rests map[int64][]int64 // blob to those that are kept as the difference from it
	met   map[int64]bool    // all blobs
	done  map[int64]bool    // that were opened, or tried
	size  int64             // of the texts of these
}

type checkedEntry struct {
	id, text, raw, at, seen int64
	number                  int
	head, strange           bool // strange: its text is not the one that it came with
}

func (c *deviceCheck) run(ctx context.Context, tx *transaction) error {
	var dropped int
	var newest int64
	err := tx.QueryRowContext(ctx, "SELECT dropped, newest FROM devices WHERE id = ?", c.id).Scan(&dropped, &newest)
	if err != nil {
		return err
	}
	err = each(ctx, tx, func(rows *sql.Rows) error {
		var e checkedEntry
		err := rows.Scan(&e.id, &e.text, &e.raw, &e.at, &e.seen, &e.number, &e.head, &e.strange)
		c.entries = append(c.entries, e)
		return err
	}, `SELECT s.id, s.text, s.raw, s.at, s.seen_at, s.number, s.head, s.normalization = s.source_normalization AND coalesce(b.sum <> s.source, 0)
		FROM snapshots s LEFT JOIN blobs b ON b.id = s.text WHERE s.device = ? ORDER BY s.at, s.source`, c.id)
	if err != nil {
		return err
	}
	for _, e := range c.entries {
		for _, b := range []int64{e.text, e.raw} {
			if b != 0 && c.versions[b] == nil {
				c.versions[b] = map[int]bool{}
			}
			if b != 0 {
				c.versions[b][e.number] = true
			}
		}
		c.raw[e.raw] = true
	}
	for _, e := range c.entries {
		delete(c.raw, e.text)
	}
	if err := c.index(dropped, newest); err != nil {
		return err
	}
	if err := c.texts(ctx, tx); err != nil {
		return err
	}
	if err := c.latest(ctx, tx); err != nil {
		return err
	}
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	c.v.out.Bytes += c.size
	c.v.out.Texts += len(c.done)
	for _, e := range c.entries {
		if e.head {
			c.v.out.Versions++
		}
	}
	if len(c.entries) > 0 {
		c.v.out.Devices++
	}
	return nil
}

// index compares the numbers and times of the timeline with what follows from its entries.
func (c *deviceCheck) index(dropped int, newest int64) error {
	number := dropped
	for i, e := range c.entries {
		head := i == 0 || c.entries[i-1].text != e.text
		if head {
			number++
		}
		should := number
		number = e.number // one mistake is told once
		last := i == len(c.entries)-1
		wrong := ""
		switch {
		case e.number != should || e.head != head:
			wrong = fmt.Sprintf("snapshot %d is counted as version %d and should be %d", e.id, e.number, should)
		case e.seen < e.at || !last && e.seen > c.entries[i+1].at:
			wrong = fmt.Sprintf("snapshot %d was last seen at %s, outside of its time", e.id, at(e.seen))
		case e.strange:
			wrong = fmt.Sprintf("snapshot %d has text %d, which is not the one that it came with", e.id, e.text)
		case last && e.id != newest:
			wrong = fmt.Sprintf("snapshot %d should be the newest, and is %d", newest, e.id)
		}
		if wrong != "" {
			if err := c.v.damage(Damage{Device: c.name, Numbers: []int{e.number}, What: "index", Err: errors.New(wrong)}); err != nil {
				return err
			}
		}
	}
	if len(c.entries) == 0 && newest != 0 {
		return c.v.damage(Damage{Device: c.name, What: "index", Err: errors.New("it should have versions and has none")})
	}
	return nil
}

func (c *deviceCheck) damagedBlob(blob int64, err error) error {
	what := "normal"
	if c.raw[blob] {
		what = "raw"
	}
	numbers := slices.Sorted(maps.Keys(c.versions[blob]))
	if len(numbers) == 0 {
		return nil // nothing refers to it: a base of other ones, which are damaged too and told by themselves
	}
	return c.v.damage(Damage{Device: c.name, Numbers: numbers, What: what, Err: err})
}

// texts opens every text of the device once, each from the one that it rests on, of which only one line is in memory at a time.
func (c *deviceCheck) texts(ctx context.Context, tx *transaction) error {
	c.rests, c.met, c.done = map[int64][]int64{}, map[int64]bool{}, map[int64]bool{}
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var id, base int64
		err := rows.Scan(&id, &base)
		c.rests[base] = append(c.rests[base], id)
		c.met[id] = true
		return err
	}, "SELECT id, base FROM blobs WHERE device = ?", c.id)
	if err != nil {
		return err
	}
	first := slices.Clone(c.rests[0])
	for base, ids := range c.rests {
		if base != 0 && !c.met[base] {
			first = append(first, ids...) // told when they do not open
		}
	}
	for blob := range c.versions {
		if !c.met[blob] {
			if err := c.damagedBlob(blob, fmt.Errorf("text %d is missing", blob)); err != nil {
				return err
			}
		}
	}
	if err := c.walk(ctx, tx, first, nil, nil); err != nil {
		return err
	}
	for id := range c.met {
		if !c.done[id] {
			if err := c.damagedBlob(id, fmt.Errorf("text %d rests on itself", id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// walk opens texts that rest on dict, and all that rest on them. above is the damage of what dict should be.
func (c *deviceCheck) walk(ctx context.Context, tx *transaction, ids []int64, dict []byte, above error) error {
	for _, id := range ids {
		c.done[id] = true
		l := link{id: id}
		err := tx.QueryRowContext(ctx, "SELECT base, sum, size, data FROM blobs WHERE id = ?", id).Scan(&l.base, &l.sum, &l.size, &l.data)
		if err != nil {
			return err
		}
		content, broken := openOn(l, dict, c.met, above)
		if broken != nil {
			if err := c.damagedBlob(id, broken); err != nil {
				return err
			}
		}
		c.size += int64(len(content))
		if content != nil {
			broken = nil // those that rest on it have digests of their own
		}
		if err := c.walk(ctx, tx, c.rests[id], content, broken); err != nil {
			return err
		}
	}
	return nil
}

// openOn opens a text from the one that it rests on, whose damage is its own. What opens and is another text comes with the error.
func openOn(l link, dict []byte, met map[int64]bool, above error) ([]byte, error) {
	switch {
	case above != nil:
		return nil, fmt.Errorf("text %d rests on a damaged one: %w", l.id, above)
	case l.base != 0 && !met[l.base]:
		return nil, fmt.Errorf("text %d rests on text %d, which is missing", l.id, l.base)
	}
	content, err := unpack(nil, l.data, dict)
	if err != nil {
		return nil, fmt.Errorf("text %d does not open: %w", l.id, err)
	}
	if sum := sha256.Sum256(content); !bytes.Equal(sum[:], l.sum) || len(content) != l.size {
		return content, fmt.Errorf("text %d should have digest %s and has %s", l.id, hexDigest(l.sum), hexDigest(sum[:]))
	}
	return content, nil
}

// latest compares the whole copy of the newest normal form.
func (c *deviceCheck) latest(ctx context.Context, tx *transaction) error {
	var l link
	var newest int64
	err := tx.QueryRowContext(ctx, `SELECT l.text, l.data, coalesce(b.sum, x''), coalesce(b.size, 0), coalesce(s.text, 0) FROM latest l
		JOIN devices d ON d.id = l.device LEFT JOIN blobs b ON b.id = l.text LEFT JOIN snapshots s ON s.id = d.newest WHERE l.device = ?`, c.id).
		Scan(&l.id, &l.data, &l.sum, &l.size, &newest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = openChain([]link{l}, nil, nil)
	if err == nil && l.id != newest {
		err = fmt.Errorf("it is of text %d and should be of %d", l.id, newest)
	}
	if err == nil {
		return nil
	}
	return c.v.damage(Damage{Device: c.name, Numbers: slices.Sorted(maps.Keys(c.versions[newest])), What: "latest", Err: err})
}
