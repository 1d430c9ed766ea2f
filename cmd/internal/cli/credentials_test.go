package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// secretFiles writes files and ends the test where one cannot be written.
type secretFiles struct{ *testing.T }

func (s secretFiles) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s secretFiles) write(path, text string, mode os.FileMode) {
	s.Helper()
	s.check(os.WriteFile(path, []byte(text), 0o600))
	s.check(os.Chmod(path, mode))
}

// edit replaces text in a file, in pairs of old and new.
func (s secretFiles) edit(path string, pairs ...string) {
	s.Helper()
	text, err := os.ReadFile(path)
	s.check(err)
	s.write(path, strings.NewReplacer(pairs...).Replace(string(text)), 0o600)
}

// swap brings files in force in a directory as kubelet does for a secret: a directory named after the time, and the link
// ..data to it, which is renamed into its place; each name is a link into ..data.
func (s secretFiles) swap(dir, stamp string, files map[string]string) {
	s.Helper()
	s.check(os.MkdirAll(filepath.Join(dir, stamp), 0o700))
	for name, text := range files {
		s.write(filepath.Join(dir, stamp, name), text, 0o400)
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			s.check(os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data")) // the first time there is none
	s.check(os.Symlink(stamp, filepath.Join(dir, "..data_tmp")))
	s.check(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	if old != "" {
		s.check(os.RemoveAll(filepath.Join(dir, old)))
	}
}

// vaultStandIn answers the one question of deployments/docs/credentials.md as vault does, without a line end.
const vaultStandIn = `#!/bin/sh
[ "$*" = "kv get -field=password secret/routers/fleet" ] || { echo "unexpected: $*" >&2; exit 2; }
printf %s "$(cat "$VAULT_STAND_IN")"
`

// TestCredentialsChange changes the password of routers that have it from a Kubernetes secret, from a file of its own and from a
// vault. Each router refuses the old one once, and is backed up again without a restart when its source has the new one.
func TestCredentialsChange(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 3, Seed: 31}, askedOnly)
	d, files, dir := newDrill(t, filepath.Dir(config)), secretFiles{t}, t.TempDir()
	volume, own, vault, bin := filepath.Join(dir, "volume"), filepath.Join(dir, "own"), filepath.Join(dir, "vault-password"), filepath.Join(dir, "bin")
	files.check(os.Mkdir(bin, 0o700))
	files.write(filepath.Join(bin, "vault"), vaultStandIn, 0o700)

	credentials := "version_key: 0123456789abcdef\ncredentials:\n" +
		"  secret: {username: " + simUser + ", password_file: password}\n" +
		"  own: {username: " + simUser + ", password_file: " + own + "}\n" +
		"  vault: {username: " + simUser + ", password_command: [vault, kv, get, -field=password, secret/routers/fleet]}\n"
	files.edit(filepath.Join(d.dir, "inventory.yaml"), "id: router-0001\n", "id: router-0001\n      credential: secret\n",
		"id: router-0002\n", "id: router-0002\n      credential: own\n", "id: router-0003\n", "id: router-0003\n      credential: vault\n")
	files.edit(config, "credentials: credentials.yaml", "credentials: "+filepath.Join(volume, "credentials.yaml"))
	password := "pw-of-the-test" // of fleetFiles
	files.swap(volume, "..2026_11_30_03_00_00.1", map[string]string{"credentials.yaml": credentials, "password": password})
	files.write(own, password+"\n", 0o600)
	files.write(vault, password, 0o600)
	d.vars = append(d.vars, "VAULT_STAND_IN="+vault, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	d.start("scheduler", "worker")
	d.run(exitOK, "backup", "--all", "--wait")

	password = "another-pw"
	for _, r := range fleet.Routers() {
		r.SetPassword(secret.New(password))
		d.run(exitBlocked, "backup", r.ID(), "--wait")
	}
	backsUp := func(id string) {
		t.Helper()
		changed := time.Now()
		eventually(t, id+" to be let go", func() bool {
			return runHere(t, append([]string{"backup", id, "--wait"}, d.at...)...).code == exitOK
		})
		t.Logf("%s is backed up %s after its source changed", id, time.Since(changed).Round(100*time.Millisecond))
	}
	files.write(own, password+"\n", 0o600)
	backsUp("router-0002")
	d.run(exitBlocked, "backup", "router-0001", "--wait") // its own source still has the old one
	files.write(vault, password, 0o600)
	files.swap(volume, "..2026_11_30_04_00_00.2", map[string]string{"credentials.yaml": credentials, "password": password})
	backsUp("router-0001")
	backsUp("router-0003")

	refused := map[string]int{}
	for _, s := range fleet.Sessions() {
		if s.Login == routersim.LoginRefused {
			refused[s.Device]++
		}
	}
	for _, r := range fleet.Routers() {
		if refused[r.ID()] != 1 {
			t.Errorf("%s refused %d logins, want the one that found out", r.ID(), refused[r.ID()])
		}
	}
}
