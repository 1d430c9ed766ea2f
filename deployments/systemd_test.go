package deployments

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// units is all that systemd is to start.
var units = []string{"confhaul.service", "confhaul-scheduler.service", "confhaul-worker@.service", "confhaul-archiver.service", "confhaul-dashboard.service"}

// access are the drop-ins for logins, in the folders in which systemd looks for them.
var access = []string{"confhaul-.service.d/access.conf", "confhaul-worker@.service.d/access.conf"}

// exposureMax is what systemd's own audit may find open, of 10: services that are not hardened have 9.6.
const exposureMax = "20" // in tenths

// TestUnitsAreHardened asks systemd, which neither runs here nor looks at this machine's units.
func TestUnitsAreHardened(t *testing.T) {
	t.Parallel()
	need(t, "CONFHAUL_REQUIRE_SYSTEMD", "systemd-analyze")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var files []string
	for _, u := range units {
		text := strings.Replace(read(t, filepath.Join("systemd", u)), "=/usr/bin/confhaul ", "="+path+" ", 1) // it has to be there
		files = append(files, write(t, dir, strings.Replace(u, "@", "@riga", 1), text, 0o644))
		write(t, dir, filepath.Base(files[len(files)-1])+".d/secrets.conf", read(t, "systemd/secrets.conf"), 0o644)
	}
	for _, name := range access {
		write(t, dir, name, read(t, filepath.Join("systemd", name)), 0o644)
	}
	for _, f := range files {
		if out := run(t, dir, nil, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f); strings.TrimSpace(out) != "" {
			t.Errorf("%s: %s", filepath.Base(f), out)
		}
		run(t, dir, nil, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposureMax, f)
	}
}

var assignment = regexp.MustCompile(`(?m)^([A-Za-z]+)=(.*)$`)

// TestUnitsStartWhatThereIs holds the units to the program and its settings.
func TestUnitsStartWhatThereIs(t *testing.T) {
	t.Parallel()
	dropIns := append([]string{"secrets.conf"}, access...)
	for _, u := range slices.Concat(dropIns, units) {
		values := map[string][]string{}
		for _, m := range assignment.FindAllStringSubmatch(read(t, filepath.Join("systemd", u)), -1) {
			values[m[1]] = append(values[m[1]], m[2])
		}
		for _, e := range values["Environment"] {
			name, value, _ := strings.Cut(e, "=")
			if !slices.Contains(variables(t), name) {
				t.Errorf("%s: %s is no setting", u, name)
			}
			if id, ok := strings.CutPrefix(value, "%d/"); ok && !slices.ContainsFunc(values["LoadCredential"], func(c string) bool { return strings.HasPrefix(c, id+":") }) {
				t.Errorf("%s: %s is not loaded", u, id)
			}
		}
		if slices.Contains(dropIns, u) {
			continue
		}
		stop, err := time.ParseDuration(values["TimeoutStopSec"][0])
		if err != nil || stop <= grace(t) {
			t.Errorf("%s: is killed within confhaul's grace (%v)", u, err)
		}
		if values["Restart"][0] != "always" || values["StartLimitIntervalSec"][0] != "0" {
			t.Errorf("%s: is not always started again", u)
		}
		argv := strings.Fields(strings.NewReplacer("%i", "riga", "%S", "/var/lib").Replace(values["ExecStart"][0]))
		if argv[0] != "/usr/bin/confhaul" {
			t.Errorf("%s starts %s", u, argv[0])
		}
		confhaul(t, append(argv[1:], "--help")...)
	}
}
