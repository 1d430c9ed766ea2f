package worker

import (
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

func TestGate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	slot := now.Add(-time.Minute)
	block := &backup.Block{Kind: fault.Auth, CredentialVersion: "k1.v1"}
	hostKey := &backup.Block{Kind: fault.HostKey, CredentialVersion: "k1.v1"}
	lifted := backup.State{Refused: "k1.v1", LiftedAt: now.Add(-time.Minute)}
	facts := Facts{Now: now, Slot: slot.Unix(), CredentialVersion: "k1.v1", RedialDelay: 5 * time.Minute, Ladder: backup.DefaultLadder()}
	with := func(change func(*Facts)) Facts {
		f := facts
		change(&f)
		return f
	}
	again := func(d time.Duration) *backup.Next { return &backup.Next{Action: backup.Again, Delay: d} }
	done, stop := &backup.Next{Action: backup.Done}, &backup.Next{Action: backup.Stop}
	for _, tc := range []struct {
		name string
		s    backup.State
		f    Facts
		want *backup.Next // nil: dial
	}{
		{"a due slot", backup.State{}, facts, nil},
		{"a done slot", backup.State{GoodStarted: slot}, facts, done},
		{"a slot given up", backup.State{SettledAt: now}, facts, done},
		{"a done slot, asked again", backup.State{GoodStarted: slot}, with(func(f *Facts) { f.Requested = true }), nil},
		{"another session", backup.State{Running: &backup.Running{Until: now.Add(time.Second)}}, with(func(f *Facts) { f.Requested = true }), again(backup.BusyDelay)},
		{"a session that died", backup.State{Running: &backup.Running{Until: now}}, facts, nil},
		{"blocked", backup.State{Block: block}, facts, stop},
		{"blocked and asked", backup.State{Block: block}, with(func(f *Facts) { f.Requested = true }), stop},
		{"blocked and forced", backup.State{Block: block}, with(func(f *Facts) { f.Requested, f.Forced = true, true }), nil},
		{"blocked by an older credential", backup.State{Block: block}, with(func(f *Facts) { f.CredentialVersion = "k1.v2" }), nil},
		{"blocked by another file's credential", backup.State{Block: block}, with(func(f *Facts) { f.CredentialVersion = "k2.v2" }), stop},
		{"lifted, with the version that was refused", lifted, with(func(f *Facts) { f.Requested = true }), again(backup.OldVersionDelay)},
		{"lifted, with the version that was refused, forced", lifted, with(func(f *Facts) { f.Requested, f.Forced = true, true }), nil},
		{"lifted, with another version", lifted, with(func(f *Facts) { f.CredentialVersion = "k1.v2" }), nil},
		{"lifted an hour ago, and put back as it was", backup.State{Refused: "k1.v1", LiftedAt: now.Add(-time.Hour)}, facts, nil},
		{"a host key block outlives credentials", backup.State{Block: hostKey}, with(func(f *Facts) { f.CredentialVersion = "k1.v2" }), stop},
		{"on the ladder", backup.State{NextAt: now.Add(time.Minute)}, facts, again(time.Minute)},
		{"dialled a moment ago", backup.State{LastDial: now.Add(-time.Minute)}, facts, again(4 * time.Minute)},
		{"dialled a moment ago, asked", backup.State{LastDial: now}, with(func(f *Facts) { f.Requested = true }), nil},
		{"too early by a button", backup.State{}, with(func(f *Facts) { f.Slot = now.Add(time.Hour).Unix() }), again(time.Hour)},
		{"early by asynq's second", backup.State{}, with(func(f *Facts) { f.Slot = now.Add(time.Second).Unix() }), nil},
		{"offline", backup.State{}, with(func(f *Facts) { f.Online = "offline" }), again(5 * time.Minute)},
		{"offline for long", backup.State{}, with(func(f *Facts) { f.Online, f.Slot = "offline", now.Add(-6*time.Minute).Unix() }), again(15 * time.Minute)},
		{"offline for days", backup.State{}, with(func(f *Facts) { f.Online, f.Slot = "offline", now.Add(-50*time.Hour).Unix() }), again(time.Hour)},
		{"done by a clock that ran ahead", backup.State{GoodStarted: now.Add(time.Hour), LastDial: now.Add(time.Hour)}, facts, nil},
		{"put off by a clock that ran ahead", backup.State{AttemptEnded: now.Add(time.Hour), NextAt: now.Add(2 * time.Hour)}, facts, nil},
		{"done by a clock that is a little ahead", backup.State{GoodStarted: now.Add(10 * time.Second)}, facts, done},
		{"online", backup.State{}, with(func(f *Facts) { f.Online = "online" }), nil},
		{"offline and asked", backup.State{}, with(func(f *Facts) { f.Online, f.Requested = "offline", true }), nil},
	} {
		got := Gate(tc.s, tc.f)
		switch {
		case (got == nil) != (tc.want == nil):
			t.Errorf("%s: got %+v", tc.name, got)
		case got != nil && got.Next != *tc.want:
			t.Errorf("%s: got %+v, want %+v", tc.name, got.Next, *tc.want)
		}
	}
}
