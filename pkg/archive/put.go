package archive

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/fault"
)

// entry is a row of a timeline.
type entry struct {
	id, at, text, raw, seen int64
	number                  int
	source, sum             []byte // as it came, and of its normal form now
}

const entryColumns = "s.id, s.at, s.text, s.raw, s.seen_at, s.number, s.source, coalesce(b.sum, x'') FROM snapshots s LEFT JOIN blobs b ON b.id = s.text"

func (e *entry) scan(row interface{ Scan(...any) error }) error {
	return row.Scan(&e.id, &e.at, &e.text, &e.raw, &e.seen, &e.number, &e.source, &e.sum)
}

// oneEntry is nil where no row fits.
func oneEntry(ctx context.Context, q querier, where string, args ...any) (*entry, error) {
	var e entry
	err := e.scan(q.QueryRowContext(ctx, "SELECT "+entryColumns+" "+where+" LIMIT 1", args...))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &e, err
}

// owner is what a timeline needs of its device.
type owner struct {
	id, proven, removed, floor int64
	dropped                    int
}

func findOwner(ctx context.Context, q querier, device string) (o owner, err error) {
	err = q.QueryRowContext(ctx, "SELECT id, proven_at, removed_at, floor_at, dropped FROM devices WHERE device = ?", device).
		Scan(&o.id, &o.proven, &o.removed, &o.floor, &o.dropped)
	if errors.Is(err, sql.ErrNoRows) {
		return o, nil
	}
	return o, err
}

// placing is one snapshot on its way into its timeline.
type placing struct {
	checked
	res *Result

	own       owner
	before    *entry // nil: it is the first
	after     *entry // nil: it is the newest
	text, raw part
	latest    []byte // whole copy of the normal form, where its blob is not
	row       int64  // of snapshots; 0: nothing is stored
	joins     bool   // the entry after has the same text
}

// Put implements Store. The texts are compressed on all cores, so that one Put of many is faster than many of one.
func (s *SQLite) Put(ctx context.Context, snaps []Snapshot) ([]Result, error) {
	const step = "archive snapshots"
	if len(snaps) > PutMax {
		return nil, fault.New(fault.Internal, step, "%d in one transaction, the limit is %d", len(snaps), PutMax)
	}
	results := make([]Result, len(snaps))
	todo := make([]*placing, len(snaps))
	err := parallel(len(snaps), func(i int) error {
		c, err := check(&snaps[i])
		if err != nil {
			results[i] = Result{Status: Refused, Err: err}
			return nil
		}
		todo[i] = &placing{checked: c, res: &results[i]}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, step, func(tx *transaction) error {
		revision, err := nextRevision(ctx, tx)
		if err != nil {
			return err
		}
		for _, round := range rounds(todo) {
			if err := place(ctx, tx, round, revision); err != nil {
				return err
			}
		}
		return conclude(ctx, tx, todo)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// rounds are the snapshots in the order in which they came, no device twice in one round.
func rounds(todo []*placing) (out [][]*placing) {
	met := map[string]int{}
	for _, p := range todo {
		if p == nil {
			continue
		}
		n := met[p.Device]
		met[p.Device]++
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], p)
	}
	return out
}

// place stores one round: what is there is read in turn, the texts are compressed side by side, the rows written in turn.
func place(ctx context.Context, tx *transaction, round []*placing, revision int64) error {
	for _, p := range round {
		if err := p.look(ctx, tx); err != nil {
			return err
		}
	}
	if err := parallel(len(round), func(i int) error { return round[i].pack() }); err != nil {
		return err
	}
	for _, p := range round {
		if err := p.write(ctx, tx, revision); err != nil {
			return err
		}
	}
	return nil
}

func (p *placing) look(ctx context.Context, q querier) (err error) {
	if p.own, err = findOwner(ctx, q, p.Device); err != nil {
		return err
	}
	when := nanos(p.CollectedAt)
	if p.own.id != 0 {
		if when <= p.own.floor {
			p.res.Status = Expired
			return nil
		}
		same, err := oneEntry(ctx, q, "WHERE s.device = ? AND s.at = ? AND s.source = ?", p.own.id, when, p.sum[:])
		if err != nil {
			return err
		}
		if same != nil {
			p.res.Status, p.row = Known, same.id
			return nil
		}
		if p.before, err = oneEntry(ctx, q, "WHERE s.device = ? AND (s.at, s.source) < (?, ?) ORDER BY s.at DESC, s.source DESC", p.own.id, when, p.sum[:]); err != nil {
			return err
		}
		if p.after, err = oneEntry(ctx, q, "WHERE s.device = ? AND (s.at, s.source) > (?, ?) ORDER BY s.at, s.source", p.own.id, when, p.sum[:]); err != nil {
			return err
		}
	}
	var near entry
	if p.before != nil {
		near = *p.before
	} else if p.after != nil {
		near = *p.after
	}
	p.res.Status = New // until conclude
	p.text = part{content: p.Normal, sum: p.sum}
	p.raw = part{content: p.Raw, sum: p.rawSum, own: p.Normal}
	if err := p.text.look(ctx, q, p.own.id, near.text); err != nil || !p.hasRaw() {
		return err
	}
	return p.raw.look(ctx, q, p.own.id, near.raw)
}

// hasRaw says whether there is a raw text to store; one that equals the normal form is that.
func (p *placing) hasRaw() bool { return len(p.Raw) > 0 && p.rawSum != p.sum }

func (p *placing) pack() error {
	if p.res.Status != New {
		return nil
	}
	if err := p.text.pack(); err != nil {
		return err
	}
	if p.hasRaw() {
		if err := p.raw.pack(); err != nil {
			return err
		}
	}
	if p.after != nil || p.text.whole() {
		return nil
	}
	var err error
	p.latest, err = pack(p.Normal, nil)
	return err
}

func (p *placing) write(ctx context.Context, tx *transaction, revision int64) (err error) {
	if p.res.Status != New {
		return nil
	}
	if err := p.own.meet(ctx, tx, Sighting{Device: p.Device, Site: p.Site, Name: p.Name, Tenant: p.Tenant, At: p.CollectedAt}, revision); err != nil {
		return err
	}
	text, err := p.text.write(ctx, tx, p.own.id, 0)
	if err != nil {
		return err
	}
	raw := int64(0)
	switch {
	case p.hasRaw():
		if raw, err = p.raw.write(ctx, tx, p.own.id, text); err != nil {
			return err
		}
	case len(p.Raw) > 0:
		raw = text
	}
	p.joins = p.after != nil && p.after.text == text
	if err := p.insert(ctx, tx, text, raw); err != nil {
		return err
	}
	if err := p.shareSeen(ctx, tx); err != nil {
		return err
	}
	if p.after != nil {
		if err := renumber(ctx, tx, p.own); err != nil {
			return err
		}
	} else if err := setLatest(ctx, tx, p.own.id, p.row, text, p.latest); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE devices SET revision = ? WHERE id = ?", revision, p.own.id)
	return err
}

func (p *placing) insert(ctx context.Context, tx *transaction, text, raw int64) (err error) {
	number, head := p.own.dropped+1, true
	if p.before != nil {
		head = p.before.text != text
		number = p.before.number
		if head {
			number++
		}
	}
	gaps := ""
	if len(p.KnownGaps) > 0 {
		b, err := json.Marshal(p.KnownGaps)
		if err != nil {
			return err
		}
		gaps = string(b)
	}
	p.row, err = insert(ctx, tx, `INSERT INTO snapshots (device, at, source, source_normalization, normalization, text, raw, number, head, seen_at, archived_at, seq,
		site, name, tenant, routeros, proof, model, serial, identity, reason, attempt, gaps) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		p.own.id, nanos(p.CollectedAt), p.sum[:], p.Normalization, p.Normalization, text, raw, number, head, nanos(p.CollectedAt), nanos(time.Now()), int64(p.Seq),
		p.Site, p.Name, p.Tenant, p.RouterOS, p.Proof, p.Model, p.Serial, p.Identity, p.Trigger, p.Attempt, gaps)
	return err
}

// shareSeen gives a new entry the sightings that were put before it: those that waited for it, and those that the entry before
// it had, for want of this one.
func (p *placing) shareSeen(ctx context.Context, tx *transaction) error {
	when := nanos(p.CollectedAt)
	seen := when
	if b := p.before; b != nil && b.seen >= when {
		if bytes.Equal(b.sum, p.sum[:]) || bytes.Equal(b.source, p.sum[:]) {
			seen = b.seen
		} else if err := keepPending(ctx, tx, p.own.id, b.source, b.seen); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE snapshots SET seen_at = at WHERE id = ?", b.id); err != nil {
			return err
		}
	}
	var waiting int64
	err := tx.QueryRowContext(ctx, "SELECT at FROM pending WHERE device = ? AND source = ?", p.own.id, p.sum[:]).Scan(&waiting)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if waiting >= when && (p.after == nil || waiting < p.after.at) {
		seen = max(seen, waiting)
		if _, err := tx.ExecContext(ctx, "DELETE FROM pending WHERE device = ? AND source = ?", p.own.id, p.sum[:]); err != nil {
			return err
		}
	}
	if seen == when {
		return nil
	}
	_, err = tx.ExecContext(ctx, "UPDATE snapshots SET seen_at = ? WHERE id = ?", seen, p.row)
	return err
}

// setLatest says which entry is the newest of a timeline; data is its whole text, nil where its blob is whole.
func setLatest(ctx context.Context, tx *transaction, device, row, text int64, data []byte) error {
	if _, err := tx.ExecContext(ctx, "UPDATE devices SET newest = ? WHERE id = ?", row, device); err != nil {
		return err
	}
	if data == nil {
		_, err := tx.ExecContext(ctx, "DELETE FROM latest WHERE device = ?", device)
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO latest (device, text, data) VALUES (?, ?, ?)", device, text, data)
	return err
}

// renumber counts the versions of a timeline anew.
func renumber(ctx context.Context, tx *transaction, o owner) error {
	type row struct {
		id, text int64
		number   int
		head     bool
	}
	var all []row
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var r row
		err := rows.Scan(&r.id, &r.text, &r.number, &r.head)
		all = append(all, r)
		return err
	}, "SELECT id, text, number, head FROM snapshots WHERE device = ? ORDER BY at, source", o.id)
	if err != nil {
		return err
	}
	number := o.dropped
	for i, r := range all {
		head := i == 0 || all[i-1].text != r.text
		if head {
			number++
		}
		if r.number == number && r.head == head {
			continue
		}
		if _, err := tx.ExecContext(ctx, "UPDATE snapshots SET number = ?, head = ? WHERE id = ?", number, head, r.id); err != nil {
			return err
		}
	}
	return nil
}

// conclude reads what became of each snapshot, after all of them.
func conclude(ctx context.Context, tx *transaction, todo []*placing) error {
	for _, p := range todo {
		if p == nil || p.row == 0 {
			continue
		}
		v, err := versionOf(ctx, tx, p.row)
		if err != nil {
			return fmt.Errorf("device %s: %w", p.Device, err)
		}
		p.res.Version = v
		if p.res.Status == New && (p.joins || !v.FirstSeen.Equal(p.CollectedAt)) {
			p.res.Status = Same
		}
	}
	return nil
}

func nextRevision(ctx context.Context, tx *transaction) (n int64, err error) {
	err = tx.QueryRowContext(ctx, "UPDATE revision SET n = n + 1 RETURNING n").Scan(&n)
	return n, err
}

// parallel calls fn for 0 to n-1 on all cores.
func parallel(n int, fn func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		g.Go(func() error { return fn(i) })
	}
	return g.Wait()
}
