package archive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/confhaul/confhaul/pkg/fault"
)

// CopySQLite copies the archive in dir, as it is at one moment, into the directory to, which it makes where it is missing. A
// process may be writing the archive meanwhile. The copy is an archive like any other; it is there, synced, or not at all.
func CopySQLite(ctx context.Context, dir, to string) (err error) {
	const step = "copy archive"
	path := filepath.Join(to, fileName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Infrastructure, step, "%s is there already: copy into an empty directory", path)
	}
	from, err := OpenSQLiteReader(ctx, dir) // says what is wrong with it
	if err != nil {
		return err
	}
	if err := from.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(to, dirMode); err != nil {
		return fault.New(fault.Infrastructure, step, "%w", err)
	}
	f, err := os.CreateTemp(to, "."+fileName+".*") // 0600, which SQLite leaves as it is
	if err != nil {
		return fault.New(fault.Infrastructure, step, "%w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	db, err := connect(filepath.Join(dir, fileName), "deferred") // VACUUM INTO takes no connection that may only query
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", f.Name())
	if err = fail(step, errors.Join(err, db.Close(), f.Sync(), f.Close())); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(f.Name(), path), syncDir(to)); err != nil {
		return fault.New(fault.Infrastructure, step, "%w", err)
	}
	return nil
}
