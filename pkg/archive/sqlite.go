package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/confhaul/confhaul/pkg/fault"
)

// Texts hold the secrets of routers: nobody else reads them.
const (
	dirMode  = 0o700
	fileMode = 0o600
	fileName = "archive.db"
)

const (
	busyTimeout = 10 * time.Second // for another connection's moment of exclusive work, as when the last reader leaves
	walMax      = 64 << 20         // bytes to which the write-ahead log is cut after a checkpoint
)

// Options of OpenSQLite.
type Options struct {
	// Waiting, where set, is called once when another process has the archive, with words for who that is; OpenSQLite then
	// waits until that one ends or ctx does. Nil: it fails at once with ErrLocked.
	Waiting func(holder string)
}

// SQLite is the Store in one SQLite file with a write-ahead log, both 0600. Commits are synced. The directory must be on a
// local disk: neither the lock nor the log work over a network file system.
//
// A version that changes one line of a 100 KB export costs 1.2 KB on the disk: 570 bytes of texts, normal and raw, the rest
// index. On two cores 400 to 800 of them are stored per second in batches of 64, and the newest texts of 10,000 devices with
// 10 KB each are searched in 0.2 to 0.4 s, those of a past moment in 0.7 to 1 s.
type SQLite struct {
	SQLiteReader
	mu     sync.Mutex // one transaction at a time
	db     *pool      // its only connection
	unlock func()
}

// SQLiteReader is the Reader of an archive that another process may be writing.
type SQLiteReader struct {
	read *pool
	dir  string
}

var (
	_ Store  = (*SQLite)(nil)
	_ Reader = (*SQLiteReader)(nil)
)

// OpenSQLite opens the archive in dir for writing and makes both where they are missing, the directory 0700. An archive of an
// older version is brought up to date.
func OpenSQLite(ctx context.Context, dir string, o Options) (*SQLite, error) {
	const step = "open archive"
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fault.New(fault.Infrastructure, step, "%w", err)
	}
	unlock, err := takeLock(ctx, dir, o.Waiting)
	if err != nil {
		return nil, err
	}
	s := &SQLite{unlock: unlock}
	s.dir = dir
	err = s.start(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *SQLite) start(ctx context.Context) error {
	path := filepath.Join(s.dir, fileName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode) // SQLite would give it the mode of the umask
	if err == nil {
		err = errors.Join(f.Close(), syncDir(s.dir))
	}
	if err != nil {
		return fault.New(fault.Infrastructure, "open archive", "%w", err)
	}
	// auto_vacuum only holds in a file without tables, and only before the log is turned on.
	if s.db, err = connect(path, "immediate", "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "synchronous(FULL)", fmt.Sprintf("journal_size_limit(%d)", walMax)); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(1)
	if err := migrate(ctx, s.db); err != nil {
		return err
	}
	s.read, err = connectReader(path)
	return err
}

// OpenSQLiteReader opens the archive in dir for reading, whether a process writes it or not. ErrNone where there is none.
func OpenSQLiteReader(ctx context.Context, dir string) (*SQLiteReader, error) {
	path := filepath.Join(dir, fileName)
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.Infrastructure, "open archive", "%w in %s: nothing was archived yet", ErrNone, dir)
	case err != nil:
		return nil, fault.New(fault.Infrastructure, "open archive", "%w", err)
	}
	db, err := connectReader(path)
	if err != nil {
		return nil, err
	}
	version, err := schema(ctx, db)
	switch {
	case err != nil:
	case version == 0:
		err = fault.New(fault.Infrastructure, "open archive", "%w in %s: nothing was archived yet", ErrNone, dir)
	case version < len(migrations):
		err = fault.New(fault.Infrastructure, "open archive", "%s has schema %d, this version reads %d: start the archiver of this version once", dir, version, len(migrations))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &SQLiteReader{read: db, dir: dir}, nil
}

// connectReader may write the log's index and recover the log of a writer that was killed, but no row.
func connectReader(path string) (*pool, error) {
	db, err := connect(path, "deferred", "query_only(1)")
	if err != nil {
		return nil, err
	}
	n := runtime.GOMAXPROCS(0) + 2
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

func connect(path, txLock string, pragmas ...string) (*pool, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.Infrastructure, "open archive", "%w", err)
	}
	q := url.Values{"_txlock": {txLock}, "mode": {"rw"}, "_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}, pragmas...)}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fail("open archive", err)
	}
	return newPool(db), nil
}

// Close ends the reading of the archive.
func (r *SQLiteReader) Close() error {
	if r.read == nil {
		return nil
	}
	return fail("close archive", r.read.Close())
}

// Close waits for the transaction under way and lets another process in.
func (s *SQLite) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.SQLiteReader.Close()
	if s.db != nil {
		err = errors.Join(err, fail("close archive", s.db.Close()))
	}
	s.unlock()
	return err
}

// write is within for the writer.
func (s *SQLite) write(ctx context.Context, step string, fn func(tx *transaction) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fail(step, s.db.within(ctx, fn))
}

// fail gives an error of the database its kind. What has one already, and what the caller's context said, stays.
func fail(step string, err error) error {
	var known *fault.Error
	var lite *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", step, err)
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrAmbiguous), errors.Is(err, ErrDamaged):
		return &fault.Error{Kind: fault.Internal, Step: step, Err: err}
	case errors.As(err, &lite):
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fault.New(fault.Internal, step, "%w: %w; keep the files as they are, and restore a copy", ErrDamaged, err)
		case sqlite3.SQLITE_FULL:
			return fault.New(fault.Infrastructure, step, "%w: make room on the disk", err)
		}
	}
	return &fault.Error{Kind: fault.Infrastructure, Step: step, Err: err}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func at(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
