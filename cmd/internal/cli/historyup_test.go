package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// TestHistoryOfUp asks a running up, and then what it left, about routers that changed.
func TestHistoryOfUp(t *testing.T) {
	t.Parallel()
	const devices = 12
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 12, Versions: []string{"7.20.2"}}, stillSettings)
	h := house{t, fleet, t.TempDir()}
	up := startProcess(t, nil, "up", "--config", config, "--data", h.data)
	eventually(t, "up to take requests", func() bool { return runHere(t, "inventory", "list", "--data", h.data).code == 0 })
	r, held := fleet.Routers()[0], fleet.Routers()[1]
	r.SetFlicker(routersim.FlickerNone)

	if o := h.run(exitOK, "stale"); !contains(o.out, "no device is stale") || !contains(o.out, "never (seen ") {
		t.Error(o.out)
	}
	eventually(t, "devices to be a second old", func() bool { return runHere(t, "stale", "--older-than", "1s", "--data", h.data).code == exitStale })
	all := decode[[]staleView](t, h.run(exitStale, "stale", "--older-than", "1s", "-o", "json"))
	if len(all) != devices || all[0].LastProven != nil || all[0].FirstSeen.IsZero() || all[0].Status != "pending" {
		t.Errorf("%d stale, the first %+v", len(all), all[0])
	}
	if err := held.SetDown(true); err != nil {
		t.Fatal(err)
	}
	h.run(exitFailed, "backup", "--wait", "--all")
	var texts []string
	for range 4 {
		texts = append(texts, r.Export())
		if got := h.run(exitOK, "show", r.ID(), "--raw").out; strip(got) != strip(r.Export()) { // at once, wherever it stands by then
			t.Errorf("show after backup is not what the router printed:\n%s", got)
		}
		r.Change()
		h.run(exitOK, "backup", "--wait", r.ID())
	}
	texts = append(texts, r.Export())
	var versions []versionView
	eventually(t, "the archive", func() bool {
		o := runHere(t, "log", r.ID(), "-o", "json", "--data", h.data)
		if o.code == exitOK {
			versions = decode[[]versionView](t, o)
		}
		return len(versions) == len(texts)
	})
	eventually(t, "all of the fleet in the archive", func() bool {
		o := runHere(t, "archive", "stats", "-o", "json", "--data", h.data)
		return o.code == exitOK && decode[statsView](t, o).Devices == devices-1
	})

	// The one that was held back is stale, and no other one.
	stale := h.run(exitStale, "stale", "--older-than", "1s", "-o", "json")
	if !contains(stale.out, held.ID()) {
		t.Errorf("%s is not stale: %s", held.ID(), stale.out)
	}
	oldest := h.run(exitOK, "status").out
	if _, oldest, _ = strings.Cut(oldest, "The oldest backups"); strings.Count(oldest, "router-") != oldestRows || !contains(oldest, held.ID()+"  ") || !contains(oldest, "LAST ARCHIVED") {
		t.Errorf("status names not the oldest: %s", oldest)
	}
	if first := strings.Split(oldest, "\n")[2]; !strings.HasPrefix(first, held.ID()) || !contains(first, "never (seen ") {
		t.Errorf("the oldest is %s", first)
	}

	if code := up.stop(t); code != exitOK {
		t.Fatalf("up ends with %d", code)
	}
	for i, text := range texts {
		at := "@" + itoa(i+1)
		if got := h.run(exitOK, "show", r.ID(), at).out; got != string(routeros.Normalize(nil, []byte(text))) {
			t.Errorf("%s is\n%s", at, got)
		}
		if got := h.run(exitOK, "show", r.ID(), at, "--raw").out; strip(got) != strip(text) {
			t.Errorf("%s is, raw,\n%s", at, got)
		}
		if v := versions[len(texts)-1-i]; v.Number != i+1 || v.Summary == "" || i > 0 && (v.Summary == "first version" || len(v.Changes) == 0) {
			t.Errorf("%s: %+v", at, v)
		}
	}
	if o := h.run(exitOK, "show", r.ID()); o.errOut != "" || o.out != string(routeros.Normalize(nil, []byte(texts[len(texts)-1]))) {
		t.Errorf("the newest: %s\n%s", o.errOut, o.out)
	}
	if o := h.run(exitOK, "diff", r.ID()); !strings.HasPrefix(o.out, "--- "+r.ID()+" @4 ") {
		t.Error(o.out)
	}
	if o := h.run(exitOK, "changes", "-o", "json"); len(decode[[]versionView](t, o)) != devices-1+4 {
		t.Error(o.out)
	}
	if o := h.run(exitOK, "search", "^/system identity"); strings.Count(o.out, "\n") != devices-1 {
		t.Error(o.out)
	}
	dir := filepath.Join(t.TempDir(), "all")
	if o := h.run(exitOK, "export", "--all", "--out", dir); !contains(o.out, itoa(devices-1)+" files written") {
		t.Error(o.out)
	}
	h.run(exitUnreachable, "stale")
}

// TestAheadOfTheArchive has an archiver wait for its archive: show tells the newest all the same, and stale that it is not there.
func TestAheadOfTheArchive(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 1, Seed: 13, Versions: []string{"7.20.2"}}, stillSettings)
	r := fleet.Routers()[0]
	h := house{t, fleet, t.TempDir()}
	s, err := archive.OpenSQLite(t.Context(), filepath.Join(h.data, "archive"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const old = "/system identity\nset name=old\n"
	if _, err := s.Put(t.Context(), []archive.Snapshot{archivetest.Snapshot(r.ID(), configTimes[0], []byte(old))}); err != nil {
		t.Fatal(err)
	}
	startProcess(t, nil, "up", "--config", config, "--data", h.data)
	eventually(t, "up to take requests", func() bool { return runHere(t, "inventory", "list", "--data", h.data).code == 0 })
	if o := h.run(exitOK, "show", r.ID()); o.out != old {
		t.Errorf("before the backup: %s", o.out)
	}
	h.run(exitOK, "backup", "--wait", r.ID())
	normal := string(routeros.Normalize(nil, []byte(r.Export())))
	v := decode[snapshotView](t, h.run(exitOK, "show", r.ID(), "-o", "json"))
	if v.Text != normal || v.Number != 0 {
		t.Errorf("after the backup: @%d %s", v.Number, v.Text)
	}
	if o := h.run(exitOK, "show", r.ID(), "@-0"); o.out != old {
		t.Errorf("the archive's newest: %s", o.out)
	}
	if o := h.run(exitOK, "stale"); !contains(o.errOut, "last proven backup of 1 device is not in the archive") {
		t.Errorf("stale: %s", o.errOut)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the archiver", func() bool { return runHere(t, "show", r.ID(), "@-0", "--data", h.data).out == normal })
	if v := decode[snapshotView](t, h.run(exitOK, "show", r.ID(), "-o", "json")); v.Text != normal || v.Number != 2 {
		t.Errorf("in the end: @%d", v.Number)
	}
}

// strip is a text without its first line, which has the time.
func strip(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}
