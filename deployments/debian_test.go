package deployments

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebianPackage builds the package twice, and installs, removes and purges it in a directory of its own.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	need(t, "CONFHAUL_REQUIRE_SYSTEMD", "dpkg-deb", "dpkg", "git", "systemd-sysusers", "systemd-tmpfiles")
	var builds []string
	for range 2 {
		out := t.TempDir()
		run(t, ".", []string{"SOURCE_DATE_EPOCH=1767225600"}, "debian/build.sh", out, "v1.2.3-4-gabc")
		found, err := filepath.Glob(filepath.Join(out, "confhaul_1.2.3+4+gabc_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		builds = append(builds, found[0])
	}
	if read(t, builds[0]) != read(t, builds[1]) {
		t.Error("two builds differ")
	}
	deb := builds[0]
	list := run(t, ".", nil, "dpkg-deb", "--contents", deb)
	for _, want := range append([]string{
		"-rwxr-xr-x root/root ./usr/bin/confhaul", "-rw-r--r-- root/root ./etc/confhaul/confhaul.yaml",
		"-rw-r--r-- root/root ./usr/share/bash-completion/completions/confhaul",
	}, unitsInstalled()...) {
		if !contains(list, want) {
			t.Errorf("%s is not in\n%s", want, list)
		}
	}

	root := t.TempDir()
	write(t, root, "var/lib/dpkg/status", "", 0o644)
	for _, dir := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/info", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dpkg := func(args ...string) string {
		t.Helper()
		// Scripts see $DPKG_ROOT; systemd, which the package needs, is not in there.
		return run(t, ".", []string{"DEBIAN_FRONTEND=noninteractive"}, append([]string{"dpkg", "--root=" + root, "--force-script-chrootless", "--force-depends", "--force-not-root"}, args...)...)
	}
	dpkg("--install", deb)
	if got := run(t, ".", nil, filepath.Join(root, "usr/bin/confhaul"), "version"); !strings.HasPrefix(got, "confhaul v1.2.3-4-gabc ") {
		t.Errorf("the program says %q", got)
	}
	run(t, ".", nil, filepath.Join(root, "usr/bin/confhaul"), "settings", "check", "--config", filepath.Join(root, "etc/confhaul/confhaul.yaml"))
	if users := read(t, filepath.Join(root, "etc/passwd")); !strings.Contains(users, "confhaul:x:") {
		t.Errorf("no user in\n%s", users)
	}
	if info, err := os.Stat(filepath.Join(root, "etc/confhaul/secrets")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("secrets: %v, %v", info, err)
	}
	history := write(t, root, "var/lib/confhaul/archive/history", "x", 0o600)
	dpkg("--remove", "confhaul")
	if _, err := os.Stat(filepath.Join(root, "etc/confhaul/confhaul.yaml")); err != nil {
		t.Errorf("remove takes the settings: %v", err)
	}
	dpkg("--purge", "confhaul")
	if read(t, history) != "x" {
		t.Error("purge takes the history")
	}
}

func unitsInstalled() (all []string) {
	for _, u := range units {
		all = append(all, fmt.Sprintf("-rw-r--r-- root/root ./usr/lib/systemd/system/%s", u))
	}
	return all
}

// contains says whether a line of dpkg-deb --contents has mode, owner and name as in want.
func contains(list, want string) bool {
	w := strings.Fields(want)
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 5 && f[0] == w[0] && f[1] == w[1] && f[5] == w[2] {
			return true
		}
	}
	return false
}
