package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// TestRotatedPassword rotates the password of a whole fleet: a few routers refuse the old one, the others are not asked, and
// the corrected file resumes it all by itself.
func TestRotatedPassword(t *testing.T) {
	t.Parallel()
	const devices, sessions = 60, 10
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 12, Versions: []string{"7.20.2"}, Size: 4000}, stillSettings)
	h := house{t, fleet, t.TempDir()}
	startProcess(t, nil, "up", "--config", config, "--data", h.data)
	eventually(t, "up to take requests", func() bool { return runHere(t, "inventory", "list", "--data", h.data).code == 0 })
	h.run(exitOK, "backup", "--wait", "--all")

	const rotated = "pw-after-the-rotation"
	for _, r := range fleet.Routers() {
		r.SetPassword(secret.New(rotated))
	}
	h.run(exitOK, "backup", "--all") // nobody waits: most of these wait for the pause to end
	eventually(t, "the pause", func() bool {
		o := runHere(t, "status", "--data", h.data)
		return strings.Contains(o.out, "credential "+simCredential+" is paused") && strings.Contains(o.out, "unblock --credential")
	})
	h.run(exitBlocked, "backup", "--wait", "--all") // is told at once
	if n := refusals(fleet); n > backup.BreakerMax+sessions {
		t.Errorf("%d routers were asked with the old password, want at most %d", n, backup.BreakerMax+sessions)
	}

	path := filepath.Join(filepath.Dir(config), "credentials.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	corrected := strings.ReplaceAll(string(text), "pw-of-the-test", rotated)
	if corrected == string(text) {
		t.Fatalf("no password to correct in %s", text)
	}
	if err := writeByRename(path, corrected); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the blocks and the pause to go", func() bool {
		o := runHere(t, "status", "--data", h.data)
		return o.code == 0 && !strings.Contains(o.out, "next trial login") && strings.Contains(o.out, " 0 blocked")
	})
	h.run(exitOK, "backup", "--wait", "--all")
	if n := refusals(fleet); n > backup.BreakerMax+sessions {
		t.Errorf("%d refusals in the end", n)
	}
}

func refusals(fleet *routersim.Fleet) int {
	n := 0
	for _, s := range fleet.Sessions() {
		if s.Login == routersim.LoginRefused {
			n++
		}
	}
	return n
}
