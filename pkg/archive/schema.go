package archive

import (
	"context"
	"fmt"

	"github.com/confhaul/confhaul/pkg/fault"
)

// applicationID marks our files among all SQLite files: "chvl".
const applicationID = 0x6368766c

// migrations[i] makes schema i+1 out of schema i. The number stands in user_version. Never change one that was released.
//
// Times are unix nanoseconds, digests are 32 bytes, 0 is none. A device's timeline is its snapshots by (at, source).
var migrations = []string{`
CREATE TABLE devices (
	id INTEGER PRIMARY KEY,
	device TEXT NOT NULL UNIQUE,
	site TEXT NOT NULL,
	name TEXT NOT NULL,
	tenant TEXT NOT NULL,
	first_at INTEGER NOT NULL,
	proven_at INTEGER NOT NULL,
	removed_at INTEGER NOT NULL DEFAULT 0,
	floor_at INTEGER NOT NULL DEFAULT 0, -- retention has removed what was collected up to here
	dropped INTEGER NOT NULL DEFAULT 0,  -- number of the last version that it removed
	newest INTEGER NOT NULL DEFAULT 0,   -- the last snapshot of the timeline
	revision INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX devices_name ON devices (name);
CREATE INDEX devices_revision ON devices (revision);
CREATE INDEX devices_removed ON devices (removed_at) WHERE removed_at > 0;

CREATE TABLE blobs ( -- texts, normal and raw
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	device INTEGER NOT NULL,
	sum BLOB NOT NULL,
	size INTEGER NOT NULL,
	base INTEGER NOT NULL, -- data is zstd with the text of this blob as raw dictionary
	place INTEGER NOT NULL,
	data BLOB NOT NULL,
	UNIQUE (device, sum)
);
CREATE INDEX blobs_base ON blobs (base) WHERE base > 0;

CREATE TABLE snapshots (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	device INTEGER NOT NULL,
	at INTEGER NOT NULL,
	source BLOB NOT NULL, -- digest with which it came; with at, what tells a redelivery
	source_normalization INTEGER NOT NULL,
	normalization INTEGER NOT NULL, -- of text
	text INTEGER NOT NULL,
	raw INTEGER NOT NULL,
	number INTEGER NOT NULL, -- of its version
	head INTEGER NOT NULL,   -- 1: the first of its version
	seen_at INTEGER NOT NULL, -- before the next of the timeline
	archived_at INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	site TEXT NOT NULL,
	name TEXT NOT NULL,
	tenant TEXT NOT NULL,
	routeros TEXT NOT NULL,
	proof TEXT NOT NULL,
	model TEXT NOT NULL,
	serial TEXT NOT NULL,
	identity TEXT NOT NULL,
	reason TEXT NOT NULL,
	attempt TEXT NOT NULL,
	gaps TEXT NOT NULL, -- JSON array, or empty
	UNIQUE (device, at, source)
);
CREATE INDEX snapshots_number ON snapshots (device, number);
CREATE INDEX snapshots_change ON snapshots (at) WHERE head = 1;
CREATE INDEX snapshots_text ON snapshots (text);
CREATE INDEX snapshots_raw ON snapshots (raw) WHERE raw > 0;
CREATE INDEX snapshots_normalization ON snapshots (normalization, device);

CREATE TABLE latest ( -- the newest normal form of a device, whole, where its blob is not
	device INTEGER PRIMARY KEY,
	text INTEGER NOT NULL,
	data BLOB NOT NULL
);

CREATE TABLE pending ( -- sightings whose snapshot has not come
	device INTEGER NOT NULL,
	source BLOB NOT NULL,
	at INTEGER NOT NULL,
	PRIMARY KEY (device, source)
) WITHOUT ROWID;

CREATE TABLE quarantine (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	at INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	reason TEXT NOT NULL,
	subject TEXT NOT NULL,
	site TEXT NOT NULL,
	device TEXT NOT NULL,
	size INTEGER NOT NULL,
	sum BLOB NOT NULL,
	data BLOB NOT NULL, -- zstd
	UNIQUE (sum, subject)
);

CREATE TABLE revision (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL);
INSERT INTO revision VALUES (1, 0);
`}

// schema reads whose file it is and its schema; 0 is a new file.
func schema(ctx context.Context, db *pool) (version int, err error) {
	var app, tables int
	// In one statement: another process may be making the file.
	err = db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version, &tables)
	if err != nil {
		return 0, fail("open archive", err)
	}
	switch {
	case app != applicationID && (app != 0 || version != 0 || tables != 0):
		return 0, fault.New(fault.Infrastructure, "open archive", "%s is the database of another program: choose another directory", fileName)
	case version > len(migrations):
		return 0, fault.New(fault.Infrastructure, "open archive", "%w: it has schema %d, this one knows up to %d; use the newer version", ErrNewer, version, len(migrations))
	}
	return version, nil
}

// migrate brings the schema up to date, each step in a transaction of its own.
func migrate(ctx context.Context, db *pool) error {
	version, err := schema(ctx, db)
	if err != nil {
		return err
	}
	for i, step := range migrations[version:] {
		err := db.within(ctx, func(tx *transaction) error {
			if _, err := tx.Tx.ExecContext(ctx, step); err != nil {
				return err
			}
			_, err := tx.Tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version+i+1))
			return err
		})
		if err != nil {
			return fail(fmt.Sprintf("bring archive to schema %d", version+i+1), err)
		}
	}
	return nil
}
