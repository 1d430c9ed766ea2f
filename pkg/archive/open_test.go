package archive_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
	"github.com/confhaul/confhaul/pkg/fault"
)

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c#d%e")
	s := open(t, dir)
	put(t, s, archivetest.NewRouter("r", "a", 100), 2)
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) < 3 {
		t.Errorf("%d files", len(entries))
	}
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", info.Mode())
	}
	must(t, s.Close())
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := archive.OpenSQLiteReader(t.Context(), dir); !errors.Is(err, archive.ErrNone) {
		t.Errorf("nothing there: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "archive.db"), nil, 0o600)) // a writer that was killed at its very start
	if _, err := archive.OpenSQLiteReader(t.Context(), dir); !errors.Is(err, archive.ErrNone) {
		t.Errorf("an empty file: %v", err)
	}
	s := open(t, dir)
	put(t, s, archivetest.NewRouter("r", "a", 100), 2)
	must(t, s.Close())
	edit(t, dir, "PRAGMA user_version = 99")
	for _, open := range []func() error{
		func() error { _, err := archive.OpenSQLite(t.Context(), dir, archive.Options{}); return err },
		func() error { _, err := archive.OpenSQLiteReader(t.Context(), dir); return err },
	} {
		if err := open(); !errors.Is(err, archive.ErrNewer) || !strings.Contains(err.Error(), "99") {
			t.Errorf("a newer schema: %v", err)
		}
	}
	edit(t, dir, "PRAGMA user_version = 1", "PRAGMA application_id = 7")
	if _, err := archive.OpenSQLite(t.Context(), dir, archive.Options{}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("another program's file: %v", err)
	}
}

// TestReaderBeside reads what another has open for writing, and after it has gone.
func TestReaderBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	r, err := archive.OpenSQLiteReader(t.Context(), dir)
	must(t, err)
	for i := range 3 {
		put(t, s, archivetest.NewRouter(fmt.Sprint(i), "a", 100), 2)
		all, err := r.Devices(t.Context(), archive.DeviceQuery{})
		must(t, err)
		if len(all) != i+1 {
			t.Errorf("%d devices after %d", len(all), i+1)
		}
	}
	must(t, s.Close())
	if found := damaged(t, r); len(found) > 0 {
		t.Error(found)
	}
	must(t, r.Close())
}

// child writes until it is killed, and says after each commit how far it is. Its devices are a to d.
func child(dir string) error {
	s, err := archive.OpenSQLite(context.Background(), dir, archive.Options{})
	if err != nil {
		return err
	}
	var routers []*archivetest.Router
	for _, name := range []string{"a", "b", "c", "d"} {
		routers = append(routers, archivetest.NewRouter(name, "a", 20_000))
	}
	fmt.Println(-1)
	for i := 0; ; i++ {
		var batch []archive.Snapshot
		for _, r := range routers {
			for n := range perDevice {
				batch = append(batch, r.Snapshot(after(i*perDevice+n)))
				r.Change()
			}
		}
		if _, err := s.Put(context.Background(), batch); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

const perDevice = 3

func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "ARCHIVE_CHILD="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = io.Copy(io.Discard, out); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the child says nothing")
	}
	return cmd, lines
}

// TestKilled: what was acknowledged is there, a batch is there whole or not at all, and it goes on.
func TestKilled(t *testing.T) {
	t.Parallel()
	for round := range 2 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd, lines := startChild(t, dir)
			acknowledged := -1
			for acknowledged < round && lines.Scan() {
				_, err := fmt.Sscan(lines.Text(), &acknowledged)
				must(t, err)
			}
			live, err := archive.OpenSQLiteReader(t.Context(), dir)
			must(t, err)
			if found := damaged(t, live); len(found) > 0 {
				t.Errorf("while it writes: %v", found)
			}
			must(t, cmd.Process.Kill())
			must(t, live.Close())
			for lines.Scan() {
				_, err := fmt.Sscan(lines.Text(), &acknowledged)
				must(t, err)
			}
			_ = cmd.Wait()

			r, err := archive.OpenSQLiteReader(t.Context(), dir) // which recovers the log by itself
			must(t, err)
			stats, err := r.Stats(t.Context())
			must(t, err)
			if found := damaged(t, r); len(found) > 0 {
				t.Error(found)
			}
			must(t, r.Close())
			batch := 4 * perDevice
			if n := stats.Versions; n%batch != 0 || n < (acknowledged+1)*batch || n > (acknowledged+2)*batch {
				t.Errorf("%d versions, acknowledged were batches 0 to %d of %d", n, acknowledged, batch)
			}
			s := open(t, dir)
			put(t, s, archivetest.NewRouter("a", "a", 20_000), 40)
			v, err := s.Versions(t.Context(), "a", 0, 0)
			must(t, err)
			if found := damaged(t, s); len(found) > 0 || len(v) < 40 {
				t.Errorf("%d versions after all were put again, %v", len(v), found)
			}
			must(t, s.Close())
		})
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, _ := startChild(t, dir)
	_, err := archive.OpenSQLite(t.Context(), dir, archive.Options{})
	if !errors.Is(err, archive.ErrLocked) || fault.KindOf(err) != fault.Infrastructure || !strings.Contains(err.Error(), fmt.Sprint("process ", cmd.Process.Pid)) {
		t.Errorf("a second writer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := archive.OpenSQLite(ctx, dir, archive.Options{Waiting: func(string) { cancel() }}); !errors.Is(err, context.Canceled) || !errors.Is(err, archive.ErrLocked) {
		t.Errorf("a second writer that gives up: %v", err)
	}
	told := make(chan string, 10)
	type opened struct {
		s   *archive.SQLite
		err error
	}
	done := make(chan opened, 1)
	go func() {
		s, err := archive.OpenSQLite(t.Context(), dir, archive.Options{Waiting: func(holder string) { told <- holder }})
		done <- opened{s, err}
	}()
	if holder := <-told; holder != fmt.Sprint("process ", cmd.Process.Pid) {
		t.Errorf("waits for %s", holder)
	}
	must(t, cmd.Process.Kill())
	select {
	case o := <-done:
		must(t, o.err)
		must(t, o.s.Close())
	case <-time.After(time.Minute):
		t.Fatal("still waiting")
	}
	if len(told) > 0 {
		t.Error("told twice")
	}
}

// TestGivesBack: what retention removes leaves the disk.
func TestGivesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 20 {
		put(t, s, archivetest.NewRouter(fmt.Sprint("gone", i), "a", 50_000), 1)
		must(t, s.Remove(t.Context(), []string{fmt.Sprint("gone", i)}, after(1)))
	}
	size := func() int64 {
		must(t, s.Close())
		info, err := os.Stat(filepath.Join(dir, "archive.db"))
		must(t, err)
		s = open(t, dir)
		return info.Size()
	}
	before := size()
	_, err := s.Retain(t.Context(), archive.Policy{Removed: time.Hour}, after(100))
	must(t, err)
	if now := size(); now > before*2/3 {
		t.Errorf("the file had %d bytes and has %d", before, now)
	}
	must(t, s.Close())
}

// TestGivesNothingBack: a file that sqlite3 has written anew can give no page back, and keeps nobody waiting for it.
func TestGivesNothingBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, archivetest.NewRouter("gone", "a", 500_000), 1)
	must(t, s.Remove(t.Context(), []string{"gone"}, after(1)))
	must(t, s.Close())
	edit(t, dir, "PRAGMA journal_mode=DELETE", "PRAGMA auto_vacuum=NONE", "VACUUM")
	s = open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := s.Retain(ctx, archive.Policy{Removed: time.Hour}, after(100))
	must(t, err)
	must(t, s.Close())
}
