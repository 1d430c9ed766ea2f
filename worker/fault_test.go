package worker

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/state"
)

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setFault(routersim.WrongPassword)
	w := h.worker("w1")
	cred, err := h.credentials.Credential(h.within(), h.dev.Credential)
	if err != nil {
		t.Fatal(err)
	}

	h.wantRun(w, stop, fault.Auth)
	if s := h.wantDials(1); s.Login != routersim.LoginRefused || s.Bytes != 0 {
		t.Errorf("session %+v", s)
	}
	s, _ := h.state()
	if s.Block == nil || s.Block.Kind != fault.Auth || s.Block.CredentialVersion != cred.Version || s.Block.Reason == "" || s.Block.At.IsZero() {
		t.Fatalf("block %+v", s.Block)
	}
	if s.Result != backup.ResultBlocked || s.Status() != backup.StatusBlocked || s.Running != nil || s.Failures != 0 {
		t.Errorf("state %+v", s)
	}
	if e := h.wantEvents(backup.EventBlocked); e.Kind != fault.Auth || e.Reason != s.Block.Reason {
		t.Errorf("event %+v", e)
	}

	if next, _ := h.run(w); next != stop {
		t.Errorf("blocked: %+v", next)
	}
	h.ask(false)
	if next, _ := h.run(w); next != stop {
		t.Errorf("blocked and asked: %+v", next)
	}
	h.wantDials(1)

	h.ask(true)
	h.wantRun(w, stop, fault.Auth)
	if next, _ := h.run(w); next != stop {
		t.Errorf("after the forced one: %+v", next)
	}
	h.wantDials(2)

	h.setFault(routersim.NoFault)
	h.router.SetPassword(secret.New(otherPassword))
	h.setPassword(otherPassword)
	h.wantRun(w, done, "")
	h.wantDials(3)
	if s, _ := h.state(); s.Block != nil || s.Status() != backup.StatusOK {
		t.Errorf("state %+v", s)
	}
	h.wantEvents(backup.EventBlocked, backup.EventBlocked)
}

func TestHostKeyChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	before, _, err := h.store.HostKey(h.within(), h.key)
	if err != nil {
		t.Fatal(err)
	}
	h.setFault(routersim.HostKeyChanged)

	h.wantRun(w, stop, fault.HostKey)
	if s := h.wantDials(2); s.Login != routersim.LoginNone {
		t.Errorf("a credential went to another host: %+v", s)
	}
	if s, _ := h.state(); s.Block == nil || s.Block.Kind != fault.HostKey || s.SnapshotSeq != 1 {
		t.Errorf("state %+v", s)
	}
	h.wantEvents(backup.EventBlocked)
	if next, _ := h.run(w); next != stop {
		t.Errorf("blocked: %+v", next)
	}
	h.wantDials(2)
	if after, _, err := h.store.HostKey(h.within(), h.key); err != nil || after.Fingerprint != before.Fingerprint {
		t.Errorf("host key on record %s, before %s: %v", after.Fingerprint, before.Fingerprint, err)
	}
}

// otherKeyFirst is the real store, in which another session records another host key a moment before ours.
type otherKeyFirst struct {
	Store
	first device.HostKey
}

func (s otherKeyFirst) TrustHostKey(ctx context.Context, key string, k device.HostKey) (device.HostKey, error) {
	if _, err := s.Store.TrustHostKey(ctx, key, s.first); err != nil {
		return device.HostKey{}, err
	}
	return s.Store.TrustHostKey(ctx, key, k)
}

func TestHostKeyRecordedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", func(o *Options) {
		o.Store = otherKeyFirst{state.NewLatest(h.store), device.HostKey{Type: "ssh-ed25519", Fingerprint: "SHA256:another", Key: []byte("another")}}
	})
	h.wantRun(w, stop, fault.HostKey)
	if s := h.wantDials(1); s.Command != "" {
		t.Errorf("the export was asked for: %+v", s)
	}
	h.wantSnapshots(0)
	h.wantEvents(backup.EventBlocked)
}

// TestFailures: what is not proven neither replaces nor hides the last good export.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault routersim.Fault
		kind  fault.Kind
		want  backup.Next
	}{
		{routersim.CutMidExport, fault.Incomplete, again(1)},
		{routersim.Interrupted, fault.Incomplete, again(1)},
		{routersim.ErrorExportingTimeout, fault.Incomplete, again(1)},
		{routersim.Refused, fault.Unreachable, again(1)},
		{routersim.ErrorText, fault.Permission, done},
	} {
		t.Run(tc.fault.String(), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			w := h.worker("w1")
			h.wantRun(w, done, "")
			good, _ := h.state()
			h.router.Change() // what a fault might let through would show as a second snapshot
			h.setFault(tc.fault)

			h.wantRun(w, tc.want, tc.kind)
			s, _ := h.state()
			if s.Digest != good.Digest || s.SnapshotSeq != good.SnapshotSeq || !s.GoodStarted.Equal(good.GoodStarted) || !s.GoodAt.Equal(good.GoodAt) {
				t.Errorf("the last good export went from %+v to %+v", good, s)
			}
			h.wantSnapshots(1)
			if s.Result != backup.ResultFailed || s.Kind != tc.kind || s.Reason == "" || s.Running != nil || s.Block != nil || s.AttemptRevision <= good.AttemptRevision {
				t.Errorf("state %+v", s)
			}
			e := h.wantEvents(backup.EventFailed)
			if e.Kind != tc.kind || e.Reason != s.Reason || e.Failures != s.Failures || !e.NextAt.Equal(s.NextAt) || e.Attempt != s.Attempt {
				t.Errorf("event %+v of state %+v", e, s)
			}
			if tc.want == done {
				if !s.SettledAt.Equal(s.AttemptEnded) || s.Failures != 0 || !s.NextAt.IsZero() {
					t.Errorf("not settled: %+v", s)
				}
				return
			}
			want := s.AttemptEnded.Add(backup.DefaultLadder()[0])
			if off := s.NextAt.Sub(want); off.Abs() > backup.DefaultLadder()[0]/10 || s.Failures != 1 || !s.SettledAt.IsZero() {
				t.Errorf("next at %s, want about %s; %d failures, settled %s", s.NextAt, want, s.Failures, s.SettledAt)
			}
			dials := len(h.fleet.Sessions())
			next, _ := h.run(w)
			h.wantNext(next, nil, backup.Next{Action: backup.Again, Delay: time.Until(s.NextAt)}, "")
			h.wantDials(dials)
		})
	}
}

// TestLadder: failures are counted over the attempts, and one that waits for the next slot counts as none.
func TestLadder(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", func(o *Options) { o.RedialDelay = 10 * time.Minute })
	h.setFault(routersim.ErrorText)
	h.wantRun(w, done, fault.Permission)
	h.setFault(routersim.CutMidExport)
	for failure, delay := range []time.Duration{10 * time.Minute, 15 * time.Minute, time.Hour, time.Hour} { // the first is the redial delay
		h.ask(false)
		h.wantRun(w, backup.Next{Action: backup.Again, Delay: delay, Counted: true}, fault.Incomplete)
		if s, _ := h.state(); s.Failures != failure+1 {
			t.Errorf("%d failures, want %d", s.Failures, failure+1)
		}
	}
	h.setFault(routersim.NoFault)
	h.ask(false)
	h.wantRun(w, done, "")
	if s, _ := h.state(); s.Failures != 0 || !s.NextAt.IsZero() {
		t.Errorf("after success: %d failures, next at %s", s.Failures, s.NextAt)
	}
}

// TestForcedPastABlock: a forced attempt that fails for another reason than the block is a failure and no new block, and
// one whose login is taken ends the block.
func TestForcedPastABlock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.setFault(routersim.WrongPassword)
	h.wantRun(w, stop, fault.Auth)
	h.setFault(routersim.Refused)
	h.ask(true)
	h.wantRun(w, again(1), fault.Unreachable)
	if s, _ := h.state(); s.Block == nil || s.Block.Kind != fault.Auth {
		t.Errorf("block %+v", s.Block)
	}
	h.setFault(routersim.CutMidExport)
	h.ask(true)
	h.wantRun(w, again(2), fault.Incomplete)
	if s, _ := h.state(); s.Block != nil {
		t.Errorf("the login was taken, and yet: block %+v", s.Block)
	}
	h.wantEvents(backup.EventBlocked, backup.EventFailed, backup.EventFailed)
}

func TestWholeDeadline(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setFault(routersim.StallMidExport)
	w := h.worker("w1", func(o *Options) { o.Whole = time.Second })
	start := time.Now()
	h.wantRun(w, again(1), fault.Timeout)
	if took := time.Since(start); took > patience/4 {
		t.Errorf("took %s", took)
	}
	if err := h.fleet.WaitSessions(h.within(), func(s []routersim.Session) bool { return !s[0].Open }); err != nil {
		t.Error("the session outlives its deadline:", err)
	}
	if s, _ := h.state(); s.Failures != 1 || s.Running != nil || s.Kind != fault.Timeout {
		t.Errorf("state %+v", s)
	}
	h.wantEvents(backup.EventFailed)
}

// endedMidExport ends a worker's task with cause while the router is silent in the middle of its export.
func (h *house) endedMidExport(w *Worker, cause error) (backup.Next, error) {
	h.Helper()
	ctx, cancel := context.WithCancelCause(h.within())
	watched := make(chan error, 1)
	go func() {
		watched <- h.fleet.WaitSessions(ctx, func(s []routersim.Session) bool { return len(s) > 0 && s[len(s)-1].Open && s[len(s)-1].Bytes > 0 })
		cancel(cause)
	}()
	next, err := w.Run(ctx, testSite, h.due())
	if werr := <-watched; werr != nil {
		h.Fatal(werr)
	}
	return next, err
}

// TestPutBack: a task that is taken from the worker in the middle of an export leaves nothing against the device, and who
// asked still waits.
func TestPutBack(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{
		"draining":   fault.New(fault.Infrastructure, "hold task", "this worker is stopping"),
		"lease lost": context.Canceled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			w := h.worker("w1", func(o *Options) { o.RedialDelay = 10 * time.Minute })
			h.setFault(routersim.StallMidExport)

			next, err := h.endedMidExport(w, cause)
			h.wantNext(next, err, backup.Next{Action: backup.Again, Delay: 10 * time.Minute}, fault.Infrastructure) // the router was dialled
			request := h.ask(false)
			next, err = h.endedMidExport(w, cause)
			h.wantNext(next, err, backup.Next{Action: backup.Again, Delay: 10 * time.Minute}, fault.Infrastructure)

			s, _ := h.state()
			if s.Running != nil || s.Failures != 0 || s.Result != "" || s.Kind != fault.Infrastructure || s.Block != nil || s.NextAt.IsZero() || s.PutBack <= request.Since || s.LastDial.IsZero() {
				t.Errorf("state %+v", s)
			}
			if request.ServedBy(s) {
				t.Error("the request counts as served")
			}
			h.wantEvents()
			h.setFault(routersim.NoFault)
			h.wantRun(w, done, "")
			if s, _ := h.state(); !request.ServedBy(s) {
				t.Error("the request is not served")
			}
			if snap := h.wantSnapshots(1)[0]; snap.Trigger != backup.ReasonRequest {
				t.Errorf("trigger %q", snap.Trigger)
			}
		})
	}
}

func TestCredentialSourceFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := os.Remove(h.password); err != nil {
		t.Fatal(err)
	}
	h.wantRun(h.worker("w1"), back, fault.Infrastructure)
	h.wantDials(0)
	if s, _ := h.state(); s.Kind != fault.Infrastructure || s.Reason == "" || s.Result != "" || s.Running != nil || s.Failures != 0 {
		t.Errorf("state %+v", s)
	}
	_, before := h.state()
	h.wantRun(h.worker("w1"), back, fault.Infrastructure)
	if _, after := h.state(); after != before {
		t.Error("the same reason is written again")
	}
	h.wantEvents()
}
