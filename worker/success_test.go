package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routersim"
)

func TestFirstBackup(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	before := time.Now()
	h.wantRun(h.worker("w1"), done, "")
	after := time.Now()

	snap := h.wantSnapshots(1)[0]
	sum := sha256.Sum256([]byte(snap.ConfigText))
	if snap.SHA256Hash != hex.EncodeToString(sum[:]) || snap.DeviceID != h.dev.ID || snap.Site != testSite || snap.TenantID != "default" ||
		!snap.Complete || snap.Trigger != backup.ReasonSlot || snap.RouterOSVersion != h.router.Version() || snap.Identity != h.router.Identity() {
		snap.ConfigText, snap.RawSnappy = "", nil
		t.Errorf("snapshot %+v", snap)
	}
	s, _ := h.state()
	if s.GoodStarted.Before(before) || s.GoodAt.Before(s.GoodStarted) || after.Before(s.GoodAt) || !s.GoodStarted.Equal(snap.CollectedAt) {
		t.Errorf("good from %s to %s, run from %s to %s, collected at %s", s.GoodStarted, s.GoodAt, before, after, snap.CollectedAt)
	}
	if s.Digest != snap.SHA256Hash || s.Normalization != snap.Normalization || s.SnapshotSeq != 1 || s.Result != backup.ResultChanged ||
		s.Version != h.router.Version() || s.Identity != h.router.Identity() || s.Bytes != snap.Bytes || s.Worker != "w1" || s.Attempt != snap.Attempt {
		t.Errorf("state %+v", s)
	}
	if s.Running != nil || s.Block != nil || s.Failures != 0 || !s.NextAt.IsZero() || s.V != backup.StateVersion {
		t.Errorf("state %+v", s)
	}
	if s.LastDial.Before(before) || s.LastDial.After(s.GoodStarted) || !s.AttemptStarted.Equal(s.LastDial) || !s.AttemptEnded.Equal(s.GoodAt) {
		t.Errorf("dialled at %s, attempt from %s to %s", s.LastDial, s.AttemptStarted, s.AttemptEnded)
	}
	if s.AttemptRevision != 1 { // of the mark, which was the bucket's first record
		t.Errorf("attempt revision %d, want that of the mark", s.AttemptRevision)
	}
	key, found, err := h.store.HostKey(h.within(), h.key)
	if err != nil || !found || key.Fingerprint != h.router.HostKeyFingerprint() {
		t.Errorf("host key on record: %+v %v %v", key, found, err)
	}
	h.wantDials(1)
	h.wantEvents()
}

// TestHistory: unchanged text makes an event and no snapshot, and a text that returns to what it was is a change too.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	first, _ := h.state()

	h.wantRun(w, done, "")
	second, _ := h.state()
	h.wantSnapshots(1)
	if e := h.wantEvents(backup.EventUnchanged); e.Digest != first.Digest || e.Attempt != second.Attempt || !e.CollectAt.Equal(second.GoodStarted) {
		t.Errorf("event %+v", e)
	}
	if second.Result != backup.ResultUnchanged || second.SnapshotSeq != 1 || second.Digest != first.Digest || !second.GoodStarted.After(first.GoodStarted) {
		t.Errorf("state after an unchanged export: %+v", second)
	}

	h.router.Change()
	h.wantRun(w, done, "")
	h.router.Revert()
	h.wantRun(w, done, "")
	snaps := h.wantSnapshots(3)
	if snaps[0].SHA256Hash == snaps[1].SHA256Hash || snaps[0].SHA256Hash != snaps[2].SHA256Hash {
		t.Error("the history is not A, B, A")
	}
	s, _ := h.state()
	if s.SnapshotSeq != 3 || s.Digest != first.Digest || s.Result != backup.ResultChanged {
		t.Errorf("state after the way back: %+v", s)
	}
	h.wantEvents(backup.EventUnchanged)
}

func TestRequest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", func(o *Options) { o.RedialDelay = time.Hour })
	h.wantRun(w, done, "")
	doneSlot := backup.Task{Device: h.dev.ID, Slot: time.Now().Add(-time.Hour).Unix(), Reason: backup.ReasonSlot}
	h.router.Change()

	request := h.ask(false)
	next, err := w.Run(h.within(), testSite, doneSlot)
	h.wantNext(next, err, done, "")
	h.wantDials(2)
	if snap := h.wantSnapshots(2)[1]; snap.Trigger != backup.ReasonRequest {
		t.Errorf("trigger %q", snap.Trigger)
	}
	if s, _ := h.state(); !request.ServedBy(s) {
		t.Errorf("request %+v is not served by %+v", request, s)
	}
	next, _ = w.Run(h.within(), testSite, doneSlot)
	if next != done {
		t.Errorf("after the request: %+v", next)
	}
	h.wantDials(2)
}

// TestRequestAfterTheBeginning: an export that began before the request does not serve it.
func TestRequestAfterTheBeginning(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var request backup.Request
	w := h.worker("w1", h.atOutcome(func() { request = h.ask(false) }))
	h.wantRun(w, done, "")
	if s, _ := h.state(); request.ServedBy(s) {
		t.Errorf("request %+v is served by an export that began before it", request)
	}
	next, err := w.Run(h.within(), testSite, backup.Task{Device: h.dev.ID, Slot: 1, Reason: backup.ReasonRequest})
	h.wantNext(next, err, done, "")
	h.wantDials(2)
	if s, _ := h.state(); !request.ServedBy(s) {
		t.Errorf("request %+v is not served by %+v", request, s)
	}
}

func TestRedialDelay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1", func(o *Options) { o.RedialDelay = 10 * time.Minute })
	h.wantRun(w, done, "")
	next, _ := h.run(w)
	if next.Action != backup.Again || next.Counted || next.Delay > 10*time.Minute || next.Delay < 9*time.Minute {
		t.Errorf("right after a dial: %+v", next)
	}
	h.wantDials(1)
}

func TestDeviceThatIsNoLongerThere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	for name, change := range map[string]func() error{
		"disabled": func() error {
			d := h.dev
			d.Enabled = false
			return h.store.PutDevice(h.within(), d)
		},
		"removed": func() error { return h.store.DeleteDevice(h.within(), h.key) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if next, err := h.run(w); next != done || err != nil {
			t.Errorf("%s: %+v %v", name, next, err)
		}
	}
	h.wantDials(0)
}

// TestStandingGap: a menu that an export lacks for the first time is a failure, and one that it always lacks is a known gap.
func TestStandingGap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setFault(routersim.StandingGap)
	w := h.worker("w1")
	h.wantRun(w, again(1), fault.Incomplete)
	s, _ := h.state()
	if len(s.SeenGaps) != 1 || len(s.KnownGaps) != 0 || !s.GoodStarted.IsZero() {
		t.Errorf("after the first look: seen %q, known %q, good %s", s.SeenGaps, s.KnownGaps, s.GoodStarted)
	}
	h.wantSnapshots(0)

	h.ask(false)
	h.wantRun(w, done, "")
	after, _ := h.state()
	if !slices.Equal(after.KnownGaps, s.SeenGaps) || after.Failures != 0 || !after.NextAt.IsZero() {
		t.Errorf("after the second look: known %q of %q, %d failures", after.KnownGaps, s.SeenGaps, after.Failures)
	}
	if snap := h.wantSnapshots(1)[0]; !slices.Equal(snap.KnownGaps, s.SeenGaps) || !snap.Complete {
		t.Errorf("snapshot with gaps %q", snap.KnownGaps)
	}
}
