package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// upSettings let a fleet be seen through several intervals within a test.
const upSettings = `interval: 6h
jitter: {min: 1s, max: 3s}
redial_delay: 0s
listen: 127.0.0.1:0
`

// TestUpKilled kills up with kill -9 while sessions are open, and starts it again on the same data.
func TestUpKilled(t *testing.T) {
	t.Parallel()
	const devices = 20
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 3}, upSettings)
	for _, r := range fleet.Routers() {
		r.SetDelay(300 * time.Millisecond)
	}
	data := t.TempDir()
	up := startProcess(t, nil, "up", "--config", config, "--data", data)
	ctx := t.Context()
	if err := fleet.WaitSessions(ctx, func(s []routersim.Session) bool { return finished(s) >= 3 && finished(s) < len(s) }); err != nil {
		t.Fatal(err)
	}
	up.kill()
	for _, r := range fleet.Routers() {
		r.SetDelay(0)
	}
	before := map[string]int{} // whole exports that the killed process fetched
	for _, s := range fleet.Sessions() {
		if s.Bytes > 0 && int(s.Bytes) >= len(fleet.Router(s.Device).Export()) {
			before[s.Device]++
		}
	}
	up = startProcess(t, nil, "up", "--config", config, "--data", data)
	status := func() map[string]deviceStatus {
		o := runHere(t, "status", "--data", data, "-o", "json")
		if o.code != 0 {
			return nil
		}
		out := map[string]deviceStatus{}
		for _, d := range decode[[]deviceStatus](t, o) {
			out[d.ID] = d
		}
		return out
	}
	eventually(t, "every device to be backed up", func() bool {
		ok := 0
		for _, d := range status() {
			if d.Status == "ok" {
				ok++
			}
			if d.Kind == "hostkey" {
				t.Fatalf("%s: %s", d.ID, d.Reason)
			}
		}
		return ok == devices
	})
	twice := 0
	for _, r := range fleet.Routers() {
		n := 0
		for _, s := range fleet.Sessions() {
			if s.Device == r.ID() && s.Login == routersim.LoginOK {
				n++
			}
		}
		if n > 2 {
			t.Errorf("%s was asked %d times", r.ID(), n)
		}
		if n == 2 && before[r.ID()] > 0 {
			twice++ // its outcome may not have been written yet when the process was killed
		}
	}
	if twice > 10 { // the sessions of one worker
		t.Errorf("%d devices were asked again although their export was whole", twice)
	}
	noOverlap(t, fleet)
	if code := up.stop(t); code != 0 {
		t.Errorf("up ends with %d on SIGTERM", code)
	}
	if o := runHere(t, "status", "--data", data); o.code != exitUnreachable {
		t.Errorf("status after the end: exit %d %s", o.code, o.errOut)
	}
}

func finished(all []routersim.Session) int {
	n := 0
	for _, s := range all {
		if !s.Open {
			n++
		}
	}
	return n
}

// TestChangedInterval starts up with 6 h, 12 h and 1 h on the same data: what is done stays done.
func TestChangedInterval(t *testing.T) {
	t.Parallel()
	const devices = 8
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 9}, upSettings)
	data := t.TempDir()
	for i, interval := range []string{"6h", "12h", "1h"} {
		up := startProcess(t, []string{"CONFHAUL_INTERVAL=" + interval}, "up", "--config", config, "--data", data)
		eventually(t, "every device to be backed up", func() bool {
			o := runHere(t, "status", "--data", data, "-o", "json")
			return o.code == 0 && strings.Count(o.out, `"status": "ok"`) == devices
		})
		if i > 0 { // the forced one shows that the workers were at work: anything that was due had its chance
			if o := runHere(t, "backup", "router-0001", "--wait", "--data", data); o.code != 0 {
				t.Fatalf("exit %d: %s", o.code, o.errOut)
			}
		}
		if code := up.stop(t); code != 0 {
			t.Fatalf("up ends with %d", code)
		}
	}
	if n := len(fleet.Sessions()); n < devices+2 || n > devices+3 { // one device's hourly slot may fall into the test
		t.Errorf("%d sessions for %d devices and 2 requests", n, devices)
	}
}

// TestInventoryReload changes the file under a running up: a device comes, one goes, and a broken file changes nothing.
func TestInventoryReload(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 3, Seed: 5}, upSettings)
	inventory := filepath.Join(filepath.Dir(config), "inventory.yaml")
	whole, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	line := func(r *routersim.Router) string {
		return "- {id: " + r.ID() + ", address: " + r.Address() + ", port: " + itoa(r.Port()) + "}\n"
	}
	head := "defaults: {credential: fleet}\ndevices:\n"
	write := func(text string) {
		if err := writeByRename(inventory, text); err != nil {
			t.Fatal(err)
		}
	}
	write(head + line(fleet.Routers()[0]) + line(fleet.Routers()[1]))
	data := t.TempDir()
	up := startProcess(t, nil, "up", "--config", config, "--data", data)
	ids := func() string {
		o := runHere(t, "status", "--data", data, "-o", "json")
		if o.code != 0 {
			return ""
		}
		out := ""
		for _, d := range decode[[]deviceStatus](t, o) {
			out += d.ID[len(d.ID)-1:] + string(d.Status) + " "
		}
		return out
	}
	eventually(t, "two devices", func() bool { return ids() == "1ok 2ok " })
	write("devices: [{id: router-0001, adress: x}]\n")
	eventually(t, "the refusal", func() bool { return contains(up.errOut.String(), "adress") })
	if got := ids(); got != "1ok 2ok " {
		t.Errorf("after a broken file: %s", got)
	}
	write(head + line(fleet.Routers()[1]) + line(fleet.Routers()[2]))
	eventually(t, "the third device instead of the first", func() bool { return ids() == "2ok 3ok " })
	write(string(whole))
	eventually(t, "all three", func() bool { return ids() == "1ok 2ok 3ok " })
}

// TestDemo holds the demo's numbers against what a plain NATS server finds on its store.
func TestDemo(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	o := runHere(t, "demo", "--devices", "12", "--for", "40s", "-o", "json", "--data", data)
	r := decode[demoReport](t, o)
	if o.code != 0 || r.Devices != 12 || r.BackedUp != 9 || r.Blocked != 2 || r.Incomplete != 1 || r.Unreachable != 1 {
		t.Errorf("exit %d: %+v\n%s", o.code, r, o.errOut)
	}
	want := map[string]string{"router-0002": "blocked auth", "router-0003": "failing incomplete", "router-0004": "failing unreachable", "router-0005": "blocked hostkey"}
	for _, d := range r.Details {
		expected := want[d.ID]
		if expected == "" {
			expected = "ok "
		}
		if got := string(d.Status) + " " + string(d.Kind); got != expected {
			t.Errorf("%s is %q, want %q: %s", d.ID, got, expected, d.Reason)
		}
	}
	server := embeddedtest.NATS(t, embedded.NATSOptions{Dir: filepath.Join(data, "nats"), Token: secret.New("another")})
	events := readSnapshots(t, server.URL().Reveal())
	devices, changing := map[string]bool{}, 0
	for _, e := range events {
		devices[e.DeviceID] = true
		if e.DeviceID == "router-0006" {
			changing++
		}
	}
	if len(events) != int(r.Snapshots) || len(devices) != r.BackedUp {
		t.Errorf("the store has %d snapshots of %d devices, the demo says %d of %d", len(events), len(devices), r.Snapshots, r.BackedUp)
	}
	if changing < 2 {
		t.Errorf("the changing router left %d snapshots", changing)
	}
	if r.Unchanged == 0 {
		t.Error("nothing was ever unchanged")
	}
	history, err := archive.OpenSQLiteReader(t.Context(), filepath.Join(data, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = history.Close() }()
	v, err := history.Verify(t.Context(), func(d archive.Damage) error { t.Errorf("damaged: %+v", d); return nil })
	if err != nil || v.Devices != r.BackedUp {
		t.Errorf("the archive has %+v, want %d devices: %v", v, r.BackedUp, err)
	}
	if all, err := history.Versions(t.Context(), "router-0006", 0, 0); err != nil || len(all) < 2 || all[0].LastSeen.IsZero() {
		t.Errorf("the changing router has %d versions in the archive: %v", len(all), err)
	}
}
