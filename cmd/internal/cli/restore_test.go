package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// drill is a confhaul in processes, with the settings in a directory that a restore fills anew.
type drill struct {
	*testing.T
	dir       string
	nats      string
	vars      []string
	at        []string
	processes []*process
}

// newDrill has a Redis and a NATS of its own that know nothing.
func newDrill(t *testing.T, dir string) *drill {
	t.Helper()
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	return &drill{
		T: t, dir: dir, nats: nats, vars: []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats},
		at: []string{"--config", filepath.Join(dir, "confhaul.yaml"), "--redis", redis, "--nats", nats},
	}
}

func (d *drill) start(roles ...string) {
	d.Helper()
	for _, role := range roles {
		d.processes = append(d.processes, startProcess(d.T, d.vars, role, "--config", filepath.Join(d.dir, "confhaul.yaml"), "--listen", "127.0.0.1:0"))
	}
}

func (d *drill) run(code int, args ...string) outcome {
	d.Helper()
	o := runHere(d.T, append(args, d.at...)...)
	if o.code != code {
		d.Fatalf("%v: exit %d, want %d\n%s\n%s", args, o.code, code, o.out, o.errOut)
	}
	return o
}

// history is what the archive tells of a device, but for when an export was last seen to equal a version.
func (d *drill) history(id string) string {
	d.Helper()
	var b strings.Builder
	for _, v := range decode[[]struct {
		Version int    `json:"version"`
		Digest  string `json:"sha256_hash"`
		First   string `json:"first_seen"`
	}](d.T, d.run(exitOK, "log", id, "-o", "json")) {
		if v.Version == 0 || v.Digest == "" {
			d.Fatal("log -o json has other names")
		}
		fmt.Fprintln(&b, v.Version, v.Digest, v.First)
	}
	return b.String()
}

// TestRestore is the drill of deployments/docs/restore.md: Redis and NATS are gone, and what was copied brings everything
// back that matters. The order of the commands is the page's.
func TestRestore(t *testing.T) {
	t.Parallel()
	const devices = 6
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 9}, askedOnly+"archive: {dir: archive}\n")
	before := newDrill(t, filepath.Dir(config))
	before.start("archiver", "scheduler", "worker")
	before.run(exitOK, "backup", "--all", "--wait")
	fleet.Router("router-0002").Change()
	before.run(exitOK, "backup", "router-0002", "--wait")
	told := map[string]string{}
	for _, r := range fleet.Routers() {
		versions := 1
		if r.ID() == "router-0002" {
			versions = 2
		}
		eventually(t, "the archive of "+r.ID(), func() bool {
			return strings.Count(runHere(t, append([]string{"log", r.ID(), "-o", "json"}, before.at...)...).out, `"version":`) == versions
		})
		told[r.ID()] = before.history(r.ID())
	}

	// The copy.
	copied := t.TempDir()
	before.run(exitOK, "archive", "copy", filepath.Join(copied, "archive"))
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(copied, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("known_hosts", before.run(exitOK, "hostkey", "export").out)
	for _, name := range []string{"confhaul.yaml", "inventory.yaml", "credentials.yaml"} {
		text, err := os.ReadFile(filepath.Join(before.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		write(name, string(text))
	}

	// The loss. Meanwhile somebody stands in for one router.
	for _, p := range before.processes {
		p.kill()
	}
	fleet.Router("router-0003").RotateHostKey()
	sessions := len(fleet.Sessions())

	// The restore.
	after := newDrill(t, copied)
	after.run(exitOK, "archive", "verify")
	after.run(exitOK, "inventory", "apply")
	if o := after.run(exitOK, "hostkey", "import", filepath.Join(copied, "known_hosts")); strings.Count(o.out, "imported") != devices {
		t.Errorf("import: %s %s", o.out, o.errOut)
	}
	after.start("archiver", "scheduler", "worker")
	after.run(exitBlocked, "backup", "--all", "--wait")

	for _, s := range fleet.Sessions()[sessions:] {
		if s.Device == "router-0003" && s.Login != routersim.LoginNone {
			t.Error("the router with another host key was shown a login")
		}
	}
	if o := after.run(exitOK, "status", "--kind", "hostkey", "-o", "json"); len(decode[[]deviceStatus](t, o)) != 1 {
		t.Errorf("blocked for its host key: %s", o.out)
	}
	fleet.Router("router-0004").Change()
	after.run(exitOK, "backup", "router-0004", "--wait")
	eventually(t, "the first change after the restore", func() bool {
		return strings.Count(after.history("router-0004"), "\n") == 2
	})
	for id, want := range told { // the change came last on the stream: what came before it is taken
		if got := after.history(id); got != want && (id != "router-0004" || !strings.HasSuffix(got, want) && !strings.HasPrefix(got, want)) {
			t.Errorf("%s: the history is\n%swant\n%s", id, got, want)
		}
	}
}

// TestRestoreOldArchive: an archive that is older than what NATS believes archived takes the rest from the stream anew, once the
// archiver's consumer is removed as the page says.
func TestRestoreOldArchive(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 1, Seed: 12}, askedOnly+"archive: {dir: archive}\n")
	d := newDrill(t, filepath.Dir(config))
	d.start("scheduler", "worker", "archiver")
	router := fleet.Routers()[0]
	backUp := func(versions int) string {
		t.Helper()
		d.run(exitOK, "backup", router.ID(), "--wait")
		eventually(t, "the archive to have it", func() bool {
			o := runHere(t, append([]string{"log", router.ID(), "-o", "json"}, d.at...)...)
			return strings.Count(o.out, `"version":`) == versions
		})
		return d.history(router.ID())
	}
	backUp(1)
	copied := filepath.Join(t.TempDir(), "archive")
	d.run(exitOK, "archive", "copy", copied)
	router.Change()
	want := backUp(2)

	if code := d.processes[2].stop(t); code != 0 {
		t.Fatalf("the archiver ends with %d", code)
	}
	dir := filepath.Join(d.dir, "archive")
	for _, err := range []error{os.RemoveAll(dir), os.Rename(copied, dir), removeConsumer(t, d.nats)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d.start("archiver")
	eventually(t, "the version that the copy lacks", func() bool { return d.history(router.ID()) == want })
}

// removeConsumer is nats consumer rm CONFIG_SNAPSHOTS archiver.
func removeConsumer(t *testing.T, url string) error {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return js.DeleteConsumer(t.Context(), "CONFIG_SNAPSHOTS", "archiver")
}
