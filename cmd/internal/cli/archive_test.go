package cli

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
)

func TestArchiveUpkeep(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	if o := p.run(exitOK, "archive", "verify"); !contains(o.out, "6 devices, 10 versions") || !contains(o.out, "all is as it was stored") {
		t.Error(o.out)
	}
	if o := p.run(exitOK, "archive", "stats"); !contains(o.out, "6, of them 1 removed") || !contains(o.out, p.dir()) {
		t.Error(o.out)
	}
	if s := decode[statsView](t, p.run(exitOK, "archive", "stats", "-o", "json")); s.Devices != 6 || s.Versions != 10 || s.Disk == 0 || s.Ratio == 0 {
		t.Errorf("%+v", s)
	}
	if o := p.run(exitOK, "archive", "renormalize"); !contains(o.out, "0 snapshots made anew") {
		t.Error(o.out)
	}

	config := filepath.Join(t.TempDir(), "confhaul.yaml")
	text := "archive: {dir: " + p.dir() + ", keep_versions: 2, keep_removed: 30s}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(code int, args ...string) outcome {
		t.Helper()
		o := runHere(t, append(args, "--config", config)...)
		if o.code != code {
			t.Fatalf("%v: exit %d\n%s%s", args, o.code, o.out, o.errOut)
		}
		return o
	}
	if o := with(exitOK, "archive", "retain", "--dry-run"); !contains(o.out, "would be removed: 3 versions") || !contains(o.out, "gone-1") || !contains(o.out, "newest 2 versions") {
		t.Error(o.out)
	}
	expired := decode[[]expiredView](t, with(exitOK, "archive", "retain", "--dry-run", "-o", "json"))
	if len(expired) != 3 || len(decode[[]versionView](t, with(exitOK, "log", "edge-7", "-o", "json"))) != 4 {
		t.Errorf("%+v", expired)
	}
	if o := with(exitOK, "archive", "retain"); !contains(o.out, "removed: 3 versions; nothing is left of 1 removed device") {
		t.Error(o.out)
	}
	if o := with(exitOK, "log", "edge-7"); !contains(o.out, "the versions before are no longer kept") || contains(o.out, "@2 ") {
		t.Error(o.out)
	}
	with(exitUsage, "log", "gone-1")
	if o := with(exitUsage, "show", "edge-7", "@-2"); !contains(o.errOut, "@3 to @4") {
		t.Error(o.errOut)
	}

	// Reading goes on beside a writer, writing does not.
	s, err := archive.OpenSQLite(t.Context(), p.dir(), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p.run(exitOK, "log", "edge-7")
	p.run(exitOK, "archive", "retain", "--dry-run")
	if o := p.run(exitFailure, "archive", "retain"); !contains(o.errOut, "has it") || !contains(o.errOut, "stop it") {
		t.Error(o.errOut)
	}
	if o := runHere(t, "archive", "retain", "--data", t.TempDir()); o.code != exitFailure || !contains(o.errOut, "there is no archive") {
		t.Errorf("exit %d %s", o.code, o.errOut)
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	if o := p.run(exitOK, "archive", "quarantine"); !contains(o.out, "nothing is in quarantine") {
		t.Error(o.out)
	}
	p.write(func(ctx context.Context, s archive.Store) error {
		return s.Quarantine(ctx, archive.Quarantined{At: configTimes[0], Reason: "its subject says edge-7, its text edge-8", Subject: "config.snapshot.create.riga.edge-7", Device: "edge-7", Data: []byte("{}")})
	})
	all := decode[[]quarantineView](t, p.run(exitOK, "archive", "quarantine", "-o", "json"))
	if len(all) != 1 || all[0].Bytes != 2 || all[0].Device != "edge-7" {
		t.Fatalf("%+v", all)
	}
	id := itoa(int(all[0].ID))
	if o := p.run(exitOK, "archive", "quarantine"); !contains(o.out, "its subject says edge-7") || !contains(o.out, id) {
		t.Error(o.out)
	}
	if o := p.run(exitOK, "archive", "quarantine", id); o.out != "{}" {
		t.Error(o.out)
	}
	p.run(exitFailure, "archive", "quarantine", "77")
	p.run(exitUsage, "archive", "quarantine", "x")
	p.run(exitUsage, "archive", "quarantine", "--discard")
	p.run(exitOK, "archive", "quarantine", id, "--discard")
	p.run(exitFailure, "archive", "quarantine", id, "--discard")
}
