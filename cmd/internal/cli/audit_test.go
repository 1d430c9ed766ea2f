package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
)

// auditFleet is a registry that no worker and no scheduler serves, and the flags with which commands reach it.
func auditFleet(t *testing.T) (natsURL string, at []string) {
	t.Helper()
	dir := t.TempDir()
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	for name, text := range map[string]string{
		"inventory.yaml": "devices:\n- {id: a, address: 192.0.2.1, site: riga, credential: fleet}\n- {id: b, address: 192.0.2.2, site: riga, credential: fleet}\n",
		"confhaul.yaml":  "inventory: inventory.yaml\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return nats, []string{"--config", filepath.Join(dir, "confhaul.yaml"), "--redis", redis, "--nats", nats}
}

// TestAuditOfCommands has every command that changes something leave a record of who asked for what.
func TestAuditOfCommands(t *testing.T) {
	t.Parallel()
	_, at := auditFleet(t)
	const key = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	var want []backup.Audit
	for _, step := range []struct {
		args               []string
		what, site, device string
	}{
		{[]string{"inventory", "apply"}, "inventory-apply", "", ""},
		{[]string{"site", "pause", "riga", "--reason", "x"}, "pause", "riga", ""},
		{[]string{"site", "resume", "riga"}, "resume", "riga", ""},
		{[]string{"site", "limit", "riga", "3"}, "limit 3", "riga", ""},
		{[]string{"site", "rate", "riga", "0.5"}, "rate 0.5/s", "riga", ""},
		{[]string{"site", "window", "riga", "always"}, "window always", "riga", ""},
		{[]string{"hostkey", "accept", "a", key}, "hostkey-accept " + key, "riga", "a"},
		{[]string{"hostkey", "forget", "a"}, "hostkey-forget", "riga", "a"},
		{[]string{"unblock", "a"}, "unblock", "riga", "a"},
		{[]string{"unblock", "--credential", "fleet"}, "resume-credential fleet", "", ""},
		{[]string{"backup", "a", "--force"}, "backup by force", "riga", "a"},
		{[]string{"backup", "--site", "riga"}, "backup of 2 devices", "riga", ""},
	} {
		if o := runHere(t, append(step.args, at...)...); o.code != exitOK {
			t.Fatalf("%v: exit %d: %s", step.args, o.code, o.errOut)
		}
		want = append(want, backup.Audit{
			V: backup.EventVersion, Type: "audit", By: app.Operator(), Role: "operator", From: "command line", What: step.what,
			Site: step.site, DeviceID: step.device, Outcome: "asked",
		})
	}
	slices.Reverse(want)
	got := decode[[]backup.Audit](t, runHere(t, append([]string{"audit", "-o", "json"}, at...)...))
	for i := range got {
		if time.Since(got[i].At).Abs() > eventTimeout {
			t.Errorf("%s: at %s", got[i].What, got[i].At)
		}
		got[i].At = time.Time{}
	}
	if !slices.Equal(got, want) {
		t.Errorf("recorded\n%+v\nwant\n%+v", got, want)
	}
	if o := runHere(t, append([]string{"audit", "-n", "1", "--site", "riga"}, at...)...); o.code != exitOK || !contains(o.out, "backup of 2 devices") ||
		contains(o.out, "unblock") || !contains(o.out, "and more before them") {
		t.Errorf("exit %d: %s %s", o.code, o.out, o.errOut)
	}
	for _, args := range [][]string{{"--since", "soon"}, {"-n", "0"}, {"--site", "No Site"}} {
		if o := runHere(t, append(append([]string{"audit"}, args...), at...)...); o.code != exitUsage {
			t.Errorf("%v: exit %d", args, o.code)
		}
	}
}

// TestWhatCannotBeRecordedIsNotDone has the stream of events refuse every record.
func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	t.Parallel()
	url, at := auditFleet(t)
	if o := runHere(t, append([]string{"inventory", "apply"}, at...)...); o.code != exitOK {
		t.Fatalf("exit %d: %s", o.code, o.errOut)
	}
	refuseEvents(t, url)
	for _, args := range [][]string{{"site", "pause", "riga"}, {"unblock", "a"}, {"backup", "a"}, {"inventory", "apply"}} {
		if o := runHere(t, append(args, at...)...); o.code != exitUnreachable || !contains(o.errOut, "record action") {
			t.Errorf("%v: exit %d: %s", args, o.code, o.errOut)
		}
	}
	sites := decode[[]siteLine](t, runHere(t, append([]string{"site", "list", "-o", "json"}, at...)...))
	if len(sites) != 1 || sites[0].Paused != nil || sites[0].Pending != 0 {
		t.Errorf("done all the same: %+v", sites)
	}
}

func refuseEvents(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	events, err := js.Stream(ctx, "CONFIG_AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	cfg := events.CachedInfo().Config
	cfg.MaxMsgSize = 1
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
}
