package archive

import (
	"context"
	"database/sql"
)

// Devices implements Reader.
func (r *SQLiteReader) Devices(ctx context.Context, q DeviceQuery) (out []Device, err error) {
	order := "d.site, d.name, d.device"
	if q.After > 0 {
		order = "d.revision, d.device"
	}
	err = each(ctx, r.read, func(rows *sql.Rows) error {
		var d Device
		var first, proven, archived, changed, removed, revision int64
		var sum []byte
		err := rows.Scan(&d.ID, &d.Site, &d.Name, &d.Tenant, &first, &proven, &archived, &changed, &removed, &d.Versions, &d.Number, &sum, &d.Size,
			&d.RouterOS, &d.Model, &d.Serial, &d.Identity, &revision)
		d.First, d.Proven, d.Archived, d.Changed, d.Removed = at(first), at(proven), at(archived), at(changed), at(removed)
		d.Digest, d.Revision = hexDigest(sum), uint64(revision)
		out = append(out, d)
		return err
	}, `SELECT d.device, d.site, d.name, d.tenant, d.first_at, d.proven_at, coalesce(s.seen_at, 0), coalesce(h.at, 0), d.removed_at,
			coalesce(s.number - d.dropped, 0), coalesce(s.number, 0), coalesce(b.sum, x''), coalesce(b.size, 0),
			coalesce(h.routeros, ''), coalesce(h.model, ''), coalesce(h.serial, ''), coalesce(h.identity, ''), d.revision
		FROM devices d
		LEFT JOIN snapshots s ON s.id = d.newest
		LEFT JOIN snapshots h ON h.device = s.device AND h.number = s.number AND h.head = 1
		LEFT JOIN blobs b ON b.id = s.text
		WHERE (d.removed_at = 0 OR d.newest > 0 OR ? > 0) AND (? = '' OR d.site = ?) AND (? = '' OR d.device = ? OR d.name = ?) AND d.revision >= ?
		ORDER BY `+order, int64(q.After), q.Site, q.Site, q.Word, q.Word, q.Word, int64(q.After)+boolInt(q.After > 0))
	if err != nil {
		return nil, fail("list devices", err)
	}
	return out, nil
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Stand implements Reader.
func (r *SQLiteReader) Stand(ctx context.Context) (Stand, error) {
	var revision, archived int64
	err := r.read.QueryRowContext(ctx, "SELECT n, coalesce((SELECT archived_at FROM snapshots ORDER BY id DESC LIMIT 1), 0) FROM revision").Scan(&revision, &archived)
	return Stand{uint64(revision), at(archived)}, fail("read stand of archive", err)
}
