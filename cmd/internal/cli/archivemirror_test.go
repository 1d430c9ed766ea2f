package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
)

// TestMirrorOfArchive: an archiver writes the git mirror by itself, the command writes what is missing, and a plain clone has
// in its log every version, as show prints it.
func TestMirrorOfArchive(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 16<<20)
	dir, remote := filepath.Join(t.TempDir(), "mirror.git"), filepath.Join(t.TempDir(), "remote.git")
	git := func(in string, args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", in}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	git(t.TempDir(), "init", "--quiet", "--bare", remote)
	router, n := archivetest.NewRouter("edge", "oslo", 2000), 0
	put := func() {
		t.Helper()
		store, err := archive.OpenSQLite(t.Context(), s.dir, archive.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = store.Close() }()
		router.Change()
		n++
		if _, err := store.Put(t.Context(), []archive.Snapshot{router.Snapshot(archivetest.Start.Add(time.Duration(n) * time.Minute))}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	put()
	s.vars = append(s.vars, "CONFHAUL_GIT_DIR="+dir)
	p := s.start()
	eventually(t, "the mirror", func() bool { return contains(p.errOut.String(), "git mirror written") })
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	put()
	vars := map[string]string{"CONFHAUL_ARCHIVE_DIR": s.dir, "CONFHAUL_GIT_DIR": dir, "CONFHAUL_GIT_REMOTE": remote}
	if o := runWith(t, vars, "archive", "mirror"); o.code != exitUsage || !contains(o.errOut, "CONFHAUL_GIT_REMOTE: the mirror holds the routers' secrets") {
		t.Errorf("push without leave, exit %d: %s", o.code, o.errOut)
	}
	vars["CONFHAUL_GIT_PUSH_SECRETS"] = "true"
	if o := runWith(t, vars, "archive", "mirror"); o.code != 0 || o.out != dir+": 1 commit written, files of 1 device\npushed to the remote\n" {
		t.Errorf("exit %d: %s%s", o.code, o.out, o.errOut)
	}
	check := func(from string) {
		t.Helper()
		clone := filepath.Join(t.TempDir(), "clone")
		git(t.TempDir(), "clone", "--quiet", "--branch", "main", from, clone)
		commits := strings.Fields(git(clone, "log", "--reverse", "--format=%h", "--", "oslo/router_edge"))
		if len(commits) != n {
			t.Fatalf("%d commits of %d versions", len(commits), n)
		}
		for i, commit := range commits {
			want := runWith(t, vars, "show", "edge", "@"+itoa(i+1)).out
			if got := git(clone, "show", commit+":oslo/router_edge"); got != want || want == "" {
				t.Errorf("%s: @%d is\n%s\nwant\n%s", from, i+1, got, want)
			}
		}
	}
	check(dir)
	check(remote)
	put()
	if o := runWith(t, vars, "archive", "mirror", "--rebuild", "-o", "json"); o.code != 0 || !contains(o.out, `"commits": 4`) || !contains(o.out, `"pushed": true`) {
		t.Errorf("exit %d: %s%s", o.code, o.out, o.errOut)
	}
	check(dir)
	check(remote)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	delete(vars, "CONFHAUL_GIT_DIR")
	delete(vars, "CONFHAUL_GIT_REMOTE")
	if o := runWith(t, vars, "archive", "mirror"); o.code != exitUsage || !contains(o.errOut, "name no git.dir") {
		t.Errorf("without a directory, exit %d: %s", o.code, o.errOut)
	}
}
