package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/routersim"
)

// house is an up that runs in a process of its own over simulated routers of this one, whose intervals never pass.
type house struct {
	*testing.T
	fleet *routersim.Fleet
	data  string
}

const stillSettings = `interval: 6h
jitter: {min: 1h, max: 1h}
redial_delay: 0s
listen: 127.0.0.1:0
`

func newUp(t *testing.T, o routersim.Options) house {
	t.Helper()
	fleet, config := fleetFiles(t, o, stillSettings)
	h := house{t, fleet, t.TempDir()}
	startProcess(t, nil, "up", "--config", config, "--data", h.data)
	eventually(t, "up to take requests", func() bool { return runHere(t, "inventory", "list", "--data", h.data).code == 0 })
	return h
}

// run runs a command against it and checks the exit code.
func (h house) run(code int, args ...string) outcome {
	h.Helper()
	o := runHere(h.T, append(args, "--data", h.data)...)
	if o.code != code {
		h.Fatalf("%v: exit %d, want %d\n%s\n%s", args, o.code, code, o.out, o.errOut)
	}
	return o
}

func TestHostkeys(t *testing.T) {
	t.Parallel()
	h := newUp(t, routersim.Options{Devices: 4, Seed: 5, Versions: []string{"7.20.2"}})
	routers := h.fleet.Routers()
	swapped, other, third, fourth := routers[0], routers[1], routers[2], routers[3]
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	// The file of an administrator is on record before the first connection.
	h.run(exitOK, "backup", "--wait", other.ID(), third.ID(), fourth.ID())
	exported := h.run(exitOK, "hostkey", "export", other.ID()).out
	if want := "[" + other.Address() + "]:" + strconv.Itoa(other.Port()) + " ssh-ed25519 "; !strings.HasPrefix(exported, want) {
		t.Fatalf("exported %q, want %q", exported, want)
	}
	wrong := strings.Replace(exported, strconv.Itoa(other.Port()), strconv.Itoa(swapped.Port()), 1)
	if o := h.run(exitOK, "hostkey", "import", write("known_hosts", exported+wrong)); !strings.Contains(o.out, swapped.ID()) || !strings.Contains(o.out, "imported") {
		t.Errorf("import: %s", o.out)
	}
	if o := h.run(exitOK, "hostkey", "list", "--shared"); !strings.Contains(o.out, swapped.ID()) || !strings.Contains(o.out, "the same key as "+other.ID()) {
		t.Errorf("one key on two routers: %s", o.out)
	}
	if o := h.run(exitOK, "status"); !strings.Contains(o.out, "the same host key as") {
		t.Errorf("status: %s", o.out)
	}
	if o := h.run(exitOK, "hostkey", "import", write("known_hosts", "nonsense\n"+exported)); !strings.Contains(o.errOut, "left out: ") {
		t.Errorf("a bad line is not told: %s", o.errOut)
	}
	h.run(exitUsage, "hostkey", "accept", "--from", write("none.csv", "id,fingerprint\n"))

	// The router has another key than the file said.
	h.run(exitBlocked, "backup", "--wait", swapped.ID())
	list := decode[[]keyLine](t, h.run(exitOK, "hostkey", "list", swapped.ID(), "-o", "json"))
	if len(list) != 1 || list[0].Shown == nil || list[0].Shown.Fingerprint != swapped.HostKeyFingerprint() || list[0].OnRecord.Fingerprint != other.HostKeyFingerprint() {
		t.Fatalf("listed %+v", list)
	}
	h.run(exitUsage, "hostkey", "accept", swapped.ID())                                      // nobody is there to say yes
	h.run(exitBlocked, "hostkey", "accept", swapped.ID(), "SHA256:"+strings.Repeat("A", 43)) // not the one it shows
	h.run(exitUsage, "hostkey", "accept", swapped.ID(), "SHA256:short")
	h.run(exitUsage, "hostkey", "accept", third.ID(), "--yes") // is not blocked
	h.run(exitUsage, "hostkey", "accept", "nobody", "--yes")
	if o := h.run(exitOK, "hostkey", "accept", swapped.ID(), swapped.HostKeyFingerprint()); !strings.Contains(o.out, other.HostKeyFingerprint()) || !strings.Contains(o.out, swapped.HostKeyFingerprint()) {
		t.Errorf("accept shows %s, want old and new", o.out)
	}
	h.run(exitOK, "backup", "--wait", swapped.ID())
	if list := decode[[]keyLine](t, h.run(exitOK, "hostkey", "list", swapped.ID(), "-o", "json")); len(list[0].History) != 2 || list[0].OnRecord.Source != "accepted" || list[0].Shown != nil {
		t.Errorf("history %+v", list)
	}

	// A planned swap of a whole site, and one by a list of fingerprints.
	for _, r := range routers {
		r.RotateHostKey()
	}
	h.run(exitBlocked, "backup", "--wait", "--all")
	csv := fmt.Sprintf("id,fingerprint\n%s,%s\n%s,%s\n", third.ID(), third.HostKeyFingerprint(), fourth.ID(), swapped.HostKeyFingerprint())
	if o := h.run(exitBlocked, "hostkey", "accept", "--from", write("new.csv", csv)); !strings.Contains(o.out, "refused: it showed") {
		t.Errorf("accept --from: %s", o.out)
	}
	h.run(exitUsage, "hostkey", "accept", "--from", write("bad.csv", "id,fingerprint\nx,y\n"))
	if o := h.run(exitOK, "hostkey", "accept", "--site", "default", "--yes"); strings.Contains(o.out, third.ID()) || strings.Count(o.out, "accepted") != 3 {
		t.Errorf("accept --site: %s", o.out)
	}
	h.run(exitOK, "backup", "--wait", "--all")
	h.run(exitOK, "hostkey", "forget", third.ID())
	h.run(exitOK, "hostkey", "accept", third.ID(), third.HostKeyFingerprint()) // before it is seen
	if o := h.run(exitOK, "hostkey", "export", third.ID()); o.out != "" || !strings.Contains(o.errOut, "1 device left out") {
		t.Errorf("export: %s %s", o.out, o.errOut)
	}
	h.run(exitOK, "backup", "--wait", third.ID())
}

func TestShow(t *testing.T) {
	t.Parallel()
	h := newUp(t, routersim.Options{Devices: 1, Seed: 6, Versions: []string{"7.20.2"}})
	r := h.fleet.Routers()[0]
	h.run(exitFailure, "show", r.ID())
	h.run(exitFailure, "show", r.ID(), "--suspect")
	h.run(exitUsage, "show", "nobody")
	if err := r.SetFault(routersim.CutMidExport); err != nil {
		t.Fatal(err)
	}
	h.run(exitIncomplete, "backup", "--wait", r.ID())
	o := h.run(exitOK, "show", r.ID(), "--suspect")
	if !strings.HasPrefix(o.out, "# ") || !strings.Contains(o.errOut, "incomplete: prove: output ended after") {
		t.Errorf("suspect: %.80q\n%s", o.out, o.errOut)
	}
	if s := decode[suspectView](t, h.run(exitOK, "show", r.ID(), "--suspect", "-o", "json")); s.Kind != "incomplete" || s.Text != o.out || s.Bytes != len(o.out) {
		t.Errorf("suspect: %s %d of %d bytes", s.Kind, len(s.Text), s.Bytes)
	}
	if err := r.SetFault(routersim.NoFault); err != nil {
		t.Fatal(err)
	}
	h.run(exitOK, "backup", "--wait", r.ID())
	raw := h.run(exitOK, "show", r.ID(), "--raw").out
	if header, _, _ := strings.Cut(raw, "\r\n"); !strings.HasSuffix(header, "by RouterOS 7.20.2") {
		t.Errorf("raw text begins %q", header)
	}
	path := filepath.Join(t.TempDir(), "export.rsc")
	if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	if normal := runHere(t, "inspect", path, "--normalized"); normal.code != 0 || normal.out != h.run(exitOK, "show", r.ID()).out {
		t.Errorf("inspect --normalized and show differ: exit %d %s", normal.code, normal.errOut)
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	const text = "# 2026-10-03 21:58:15 by RouterOS 7.24.5\n# software id = AB12-CD34\n#\n# model = RB5009\n# serial number = HF123\n/interface bridge\nadd name=bridge\n/system identity\nset name=core-1\n"
	for _, tt := range []struct {
		name, text string
		code       int
		want       []string
	}{
		{"whole", text, exitOK, []string{`"complete": true`, `"reason": ""`, `"proof": "none"`, `"version": "7.24.5"`, `"identity": "core-1"`, `"model": "RB5009"`, `"serial_number": "HF123"`, `"sensitive": "unknown"`, `"known_gaps": []`, `"normalization_version": 1`}},
		{"cut", text[:len(text)-4], exitIncomplete, []string{`"complete": false`, `ends inside line`}},
		{"interrupted", text + "#interrupted\n", exitIncomplete, []string{"interrupted"}},
		{"no export", "bad command name export (line 1 column 2)\n", exitIncomplete, []string{`"sha256_hash": ""`}},
	} {
		path := filepath.Join(t.TempDir(), "export.rsc")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := runHere(t, "inspect", path, "-o", "json")
		if o.code != tt.code {
			t.Errorf("%s: exit %d, want %d: %s", tt.name, o.code, tt.code, o.errOut)
		}
		for _, w := range tt.want {
			if !strings.Contains(o.out, w) {
				t.Errorf("%s: no %s in %s", tt.name, w, o.out)
			}
		}
		if o := runHere(t, "inspect", path); o.code != tt.code || o.out == "" {
			t.Errorf("%s: exit %d: %s", tt.name, o.code, o.out)
		}
	}
	if o := runHere(t, "inspect", "/nonexistent"); o.code != exitUsage {
		t.Errorf("no file: exit %d", o.code)
	}
}

// TestJumpFromInventory goes through a bastion that the inventory names for all.
func TestJumpFromInventory(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 3, Seed: 4, Versions: []string{"7.20.2"}}, stillSettings)
	bastion := fleet.Routers()[0]
	bastion.SetForwarding(true)
	inventory := "defaults: {credential: " + simCredential + ", jump: " + bastion.ID() + "}\ndevices:\n"
	for _, r := range fleet.Routers() {
		inventory += fmt.Sprintf("  - {id: %s, address: %s, port: %d, enabled: %t}\n", r.ID(), r.Address(), r.Port(), r != bastion)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "inventory.yaml"), []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	h := house{t, fleet, t.TempDir()}
	startProcess(t, nil, "up", "--config", config, "--data", h.data)
	eventually(t, "up to take requests", func() bool { return runHere(t, "inventory", "list", "--data", h.data).code == 0 })
	h.run(exitOK, "backup", "--wait", "--all")
	through := 0
	for _, s := range fleet.Sessions() {
		if s.Device == bastion.ID() {
			through += s.Forwarded
			if s.Command != "" {
				t.Error("the bastion was backed up")
			}
		}
	}
	if through != 2 {
		t.Errorf("%d sessions went through the bastion, want 2", through)
	}
	if o := h.run(exitOK, "hostkey", "list"); !strings.Contains(o.out, bastion.HostKeyFingerprint()) {
		t.Errorf("the bastion's key is not on record: %s", o.out)
	}
}
