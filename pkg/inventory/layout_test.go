package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/secret"
)

// groupMode is how a secret of root's shows in a group that only its reader is in; others than root cannot make such a file.
func groupMode() os.FileMode {
	if os.Geteuid() == 0 {
		return 0o440
	}
	return 0o400
}

// secretVolume is a directory as kubelet fills it: the files stand in a directory with a time for its name, to which ..data
// points, and each name is a link into ..data.
type secretVolume struct {
	*testing.T
	dir   string
	swaps int
}

// put brings new files in force as kubelet does: all at once, by renaming the link.
func (v *secretVolume) put(files map[string]string) {
	v.Helper()
	check := func(err error) {
		v.Helper()
		if err != nil {
			v.Fatal(err)
		}
	}
	v.swaps++
	stamp := fmt.Sprintf("..2026_11_30_03_20_07.%09d", v.swaps)
	check(os.Mkdir(filepath.Join(v.dir, stamp), 0o755))
	for name, text := range files {
		path := filepath.Join(v.dir, stamp, name)
		check(os.WriteFile(path, []byte(text), 0o600))
		check(os.Chmod(path, groupMode()))
	}
	before, _ := os.Readlink(filepath.Join(v.dir, "..data")) // the first time there is none
	check(os.Symlink(stamp, filepath.Join(v.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
	for name := range files {
		if before == "" {
			check(os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)))
		}
	}
	if before != "" {
		check(os.RemoveAll(filepath.Join(v.dir, before)))
	}
}

func fetched(t *testing.T, s *CredentialStore, name string) secret.Credential {
	t.Helper()
	c, err := s.Credential(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSecretVolume: a swap of a Kubernetes secret is seen once, and its versions compare with those before it.
func TestSecretVolume(t *testing.T) {
	t.Parallel()
	v := &secretVolume{T: t, dir: t.TempDir()}
	const file = versionKey + "credentials: {a: {username: u, password: in the file}, b: {username: u, password_file: b.password}}\n"
	v.put(map[string]string{"credentials.yaml": file, "b.password": "first\n"})
	s, err := NewCredentialStore(filepath.Join(v.dir, "credentials.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := fetched(t, s, "a"), fetched(t, s, "b")
	if b.Password.Reveal() != "first" {
		t.Errorf("the first password is %q", b.Password.Reveal())
	}
	for n := range 3 {
		password := fmt.Sprint("password ", n)
		v.put(map[string]string{"credentials.yaml": file, "b.password": password})
		if changed, err := s.Reload(); !changed || err != nil {
			t.Errorf("swap %d: changed %t, %v", n, changed, err)
		}
		if changed, err := s.Reload(); changed || err != nil {
			t.Errorf("swap %d is seen twice: changed %t, %v", n, changed, err)
		}
		if again := fetched(t, s, "a"); again.Version != a.Version {
			t.Error("what a swap did not change has another version")
		}
		next := fetched(t, s, "b")
		if next.Password.Reveal() != password || !secret.OtherVersion(b.Version, next.Version) {
			t.Errorf("swap %d: password %q, version %s after %s", n, next.Password.Reveal(), next.Version, b.Version)
		}
		b = next
	}
}

// TestCredentialsDirectory: what systemd puts into $CREDENTIALS_DIRECTORY.
func TestCredentialsDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "confhaul-worker.service")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "credentials.yaml")
	for name, text := range map[string]string{
		path: versionKey + "credentials: {c: {username: u, password_file: fleet.password}}\n", filepath.Join(dir, "fleet.password"): "hunter2\n",
	} {
		write(t, name, text)
		if err := os.Chmod(name, groupMode()); err != nil { // an ACL shows in the bits of the group
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) }) //nolint:gosec // so that it can be removed
	s, err := NewCredentialStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if c := fetched(t, s, "c"); c.Password.Reveal() != "hunter2" {
		t.Errorf("password %q", c.Password.Reveal())
	}
}

// TestFileOfAPassword that the credentials file names: a change of its own is seen, and one that others can read is refused.
func TestFileOfAPassword(t *testing.T) {
	t.Parallel()
	_, path, err := loadText(t, versionKey+"credentials: {c: {username: u, password_file: pw}, k: {username: u, private_key_file: pw}}\n")
	if err != nil {
		t.Fatal(err)
	}
	pw := filepath.Join(filepath.Dir(path), "pw")
	s, err := NewCredentialStore(path)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(step string, want bool) {
		t.Helper()
		if changed, err := s.Reload(); changed != want || err != nil {
			t.Errorf("%s: changed %t, %v", step, changed, err)
		}
	}
	reload("no file yet", false)
	write(t, pw, "first")
	reload("written", true)
	reload("untouched", false)
	write(t, pw, "the second")
	reload("written over", true)
	if c := fetched(t, s, "c"); c.Password.Reveal() != "the second" {
		t.Errorf("password %q", c.Password.Reveal())
	}
	if err := os.Chmod(pw, 0o644); err != nil {
		t.Fatal(err)
	}
	reload("opened to all", true)
	for _, name := range []string{"c", "k"} {
		_, err = s.Credential(t.Context(), name)
		if want := "read " + pw + ": others can use it (mode 0644): chmod 600 " + pw; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if err := os.Remove(pw); err != nil {
		t.Fatal(err)
	}
	reload("gone", true)
	reload("gone, seen already", false)
}
