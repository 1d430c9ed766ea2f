package stream_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/stream"
)

// TestAudit records actions, finds them on their subjects as a plain consumer does, and reads them back by site.
func TestAudit(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	ctx := natsiotest.Within(t)
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	if err := b.PublishEvent(ctx, backup.Event{Type: backup.EventFailed, DeviceID: "r:1", Site: "riga"}); err != nil {
		t.Fatal(err)
	}
	for _, a := range []backup.Audit{
		{What: "unblock", Site: "riga", DeviceID: "r:1", At: at}, {What: "pause", Site: "riga", At: at}, {What: "resume-credential fleet", At: at},
		{What: "resume", Site: "oslo", At: at},
	} {
		if err := b.PublishAudit(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	events, err := b.conn.JetStream().Stream(ctx, stream.AuditStream)
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]string{
		"config.audit.riga.r=3A1": "unblock", "config.audit.riga._": "pause", "config.audit._._": "resume-credential fleet",
	} {
		m, err := events.GetLastMsgForSubject(ctx, subject)
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		var a backup.Audit
		if err := json.Unmarshal(m.Data, &a); err != nil || a.What != want {
			t.Errorf("%s: %s, %v", subject, m.Data, err)
		}
	}
	for site, want := range map[string][]string{"": {"unblock", "pause", "resume-credential fleet", "resume"}, "riga": {"unblock", "pause"}, "rome": {}} {
		got, err := b.Audits(ctx, site)
		if err != nil || len(got) != len(want) {
			t.Fatalf("site %q: %v, %v", site, got, err)
		}
		for i, a := range got {
			if a.What != want[i] || !a.At.Equal(at) {
				t.Errorf("site %q: %d is %+v", site, i, a)
			}
		}
	}
}
