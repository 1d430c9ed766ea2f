package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// seenEvent is a snapshot event as a consumer that knows nothing of confhaul's code reads it.
type seenEvent struct {
	DeviceID   string `json:"device_id"`
	TenantID   string `json:"tenant_id"`
	Hash       string `json:"sha256_hash"`
	ConfigText string `json:"config_text"`
	Bytes      int    `json:"bytes"`
	Complete   bool   `json:"complete"`
	RawSnappy  []byte `json:"raw_snappy"`
}

// readSnapshots reads the whole snapshot stream with a plain NATS client.
func readSnapshots(t *testing.T, url string) []seenEvent {
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
	c, err := js.OrderedConsumer(ctx, "CONFIG_SNAPSHOTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var out []seenEvent
	for range info.NumPending {
		m, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		var e seenEvent
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(m.Subject(), "config.snapshot.create.") {
			t.Errorf("subject %s", m.Subject())
		}
		out = append(out, e)
	}
	return out
}

// raw opens the text as printed.
func (e seenEvent) raw(t *testing.T) string {
	t.Helper()
	b, err := s2.Decode(nil, e.RawSnappy)
	if err != nil {
		t.Fatalf("%s: raw_snappy: %v", e.DeviceID, err)
	}
	return string(b)
}

// withoutMoment takes away what one printing of a configuration does not share with the next: the date and the status
// comments.
func withoutMoment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// askedOnly keeps the timetable out of a test that counts what it asked for itself.
const askedOnly = "interval: 87600h\njitter: {min: 1000h, max: 2000h}\nredial_delay: 0s\n"

// TestDistributed runs two workers and two schedulers on a Redis and a NATS beside them.
func TestDistributed(t *testing.T) {
	t.Parallel()
	const devices = 60
	fleet, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 7, Sites: []string{"riga", "oslo"}}, askedOnly)
	for i, r := range fleet.Routers() {
		if i%2 == 0 { // has pages that come and go and are no comments: the plain reading below would keep them
			r.SetFlicker(routersim.FlickerNone)
		}
	}
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	vars := []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats}
	for range 2 {
		startProcess(t, vars, "scheduler", "--config", config, "--listen", "127.0.0.1:0")
		startProcess(t, vars, "worker", "--config", config, "--listen", "127.0.0.1:0")
	}
	at := []string{"--config", config, "--redis", redis, "--nats", nats, "-o", "json"}

	first := runHere(t, append([]string{"backup", "--all", "--wait"}, at...)...)
	if s := decode[backupSummary](t, first); first.code != 0 || s.Succeeded != devices {
		t.Fatalf("exit %d: %s %s", first.code, first.out, first.errOut)
	}
	events := readSnapshots(t, nats)
	if len(events) != devices {
		t.Errorf("%d snapshots of %d devices", len(events), devices)
	}
	for _, e := range events {
		sum := sha256.Sum256([]byte(e.ConfigText))
		if hex.EncodeToString(sum[:]) != e.Hash {
			t.Errorf("%s: sha256_hash is not that of config_text", e.DeviceID)
		}
		raw := e.raw(t)
		if len(raw) != e.Bytes || !e.Complete || e.TenantID != "default" {
			t.Errorf("%s: %d bytes of raw text, event says %d, complete %v, tenant %q", e.DeviceID, len(raw), e.Bytes, e.Complete, e.TenantID)
		}
		if want := fleet.Router(e.DeviceID).Export(); withoutMoment(raw) != withoutMoment(want) {
			t.Errorf("%s: the raw text is not what the router prints", e.DeviceID)
		}
	}

	second := runHere(t, append([]string{"backup", "--all", "--wait"}, at...)...)
	if s := decode[backupSummary](t, second); second.code != 0 || s.Unchanged != devices {
		t.Errorf("second run, exit %d: %+v", second.code, s)
	}
	if n := len(readSnapshots(t, nats)); n != devices {
		t.Errorf("%d snapshots after a second run of unchanged routers, want %d", n, devices)
	}

	fleet.Router("router-0003").Change()
	if o := runHere(t, append([]string{"backup", "router-0003", "router-0004", "router-0003", "--wait"}, at...)...); decode[backupSummary](t, o).Changed != 1 {
		t.Errorf("one changed of two: %s", o.out)
	}
	if err := fleet.Router("router-0005").SetFault(routersim.CutMidExport); err != nil {
		t.Fatal(err)
	}
	fleet.Router("router-0006").RotateHostKey()
	for id, want := range map[string]int{"router-0005": exitIncomplete, "router-0006": exitBlocked} {
		if o := runHere(t, append([]string{"backup", id, "--wait"}, at...)...); o.code != want {
			t.Errorf("%s: exit %d, want %d: %s", id, o.code, want, o.out)
		}
	}
	before := len(fleet.Sessions())
	if o := runHere(t, append([]string{"backup", "router-0006", "--wait"}, at...)...); o.code != exitBlocked || len(fleet.Sessions()) != before {
		t.Errorf("a blocked device: exit %d, %d new sessions", o.code, len(fleet.Sessions())-before)
	}
	for _, command := range [][]string{{"status", "--site", "nosuch"}, {"inventory", "list", "--site", "nosuch"}} {
		if o := runHere(t, append(command, at...)...); o.code != exitUsage {
			t.Errorf("%v: exit %d", command, o.code)
		}
	}
	status := decode[[]deviceStatus](t, runHere(t, append([]string{"status", "--kind", "hostkey"}, at...)...))
	if len(status) != 1 || status[0].ID != "router-0006" || status[0].Digest == "" {
		t.Errorf("status --kind hostkey: %+v", status)
	}
	if o := runHere(t, append([]string{"hostkey", "forget", "router-0006"}, at...)...); o.code != 0 || !contains(o.out, "forgot ssh-") {
		t.Errorf("hostkey forget: exit %d: %s %s", o.code, o.out, o.errOut)
	}
	if o := runHere(t, append([]string{"backup", "router-0006", "--wait"}, at...)...); o.code != 0 {
		t.Errorf("after its key was forgotten: exit %d: %s", o.code, o.out)
	}

	// The password is changed on the routers first: one device finds out, and the corrected file brings it back.
	for _, r := range fleet.Routers() {
		r.SetPassword(secret.New("pw-after-rotation"))
	}
	if o := runHere(t, append([]string{"backup", "router-0007", "--wait"}, at...)...); o.code != exitBlocked {
		t.Errorf("refused login: exit %d: %s", o.code, o.out)
	}
	credentials := filepath.Join(filepath.Dir(config), "credentials.yaml")
	text, err := os.ReadFile(credentials)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeByRename(credentials, strings.ReplaceAll(string(text), "pw-of-the-test", "pw-after-rotation")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the block to be lifted", func() bool {
		o := runHere(t, append([]string{"backup", "router-0007", "--wait"}, at...)...)
		return o.code == 0
	})
	refused := 0
	for _, s := range fleet.Sessions() {
		if s.Login == routersim.LoginRefused {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d refused logins, want the one that found out", refused)
	}
	noOverlap(t, fleet)
	if leak := "pw-of-the-test"; bytes.Contains([]byte(first.out+second.out+first.errOut), []byte(leak)) {
		t.Error("the login password shows in the output")
	}
}

// noOverlap holds the routers' own session log against "one session per device at once".
func noOverlap(t *testing.T, fleet *routersim.Fleet) {
	t.Helper()
	last := map[string]routersim.Session{}
	for _, s := range fleet.Sessions() {
		if before, ok := last[s.Device]; ok && (before.Open || before.To.After(s.From)) {
			t.Errorf("%s: a session from %s while one from %s is open", s.Device, s.From, before.From)
		}
		last[s.Device] = s
	}
}
