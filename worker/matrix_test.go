package worker

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/collect"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/sshclient"
	"github.com/confhaul/confhaul/pkg/state"
)

// expectation is what a worker makes of a router.
type expectation struct {
	kind    fault.Kind
	next    backup.Next
	suspect bool // what was printed is kept
	whole   time.Duration
}

var (
	good        = expectation{next: done}
	refusedBy   = func(k fault.Kind) expectation { return expectation{kind: k, next: done} }
	unproven    = expectation{kind: fault.Incomplete, next: again(1), suspect: true}
	notReached  = expectation{kind: fault.Unreachable, next: again(1)}
	tookTooLong = expectation{kind: fault.Timeout, next: again(1)}
)

// matrix says what follows each fault of the simulator.
var matrix = map[routersim.Fault]expectation{
	routersim.WrongPassword:         {kind: fault.Auth, next: stop},
	routersim.HostKeyChanged:        good, // there is none on record yet
	routersim.Refused:               notReached,
	routersim.SilentAfterAccept:     tookTooLong,
	routersim.StallMidExport:        {kind: fault.Timeout, next: again(1), suspect: true},
	routersim.CutMidExport:          unproven,
	routersim.Interrupted:           unproven,
	routersim.ErrorExportingTimeout: unproven,
	routersim.StandingGap:           unproven, // seen for the first time
	routersim.ErrorText:             {kind: fault.Permission, next: done, suspect: true},
	routersim.Huge:                  good,
	routersim.Slow:                  {kind: fault.Timeout, next: again(1), suspect: true, whole: 2 * time.Second},
	routersim.WindowCut:             unproven,
	routersim.HiddenSecrets:         {kind: fault.Permission, next: done, suspect: true},
	routersim.MarkerRefused:         {kind: fault.Rejected, next: done, suspect: true},
	routersim.Banned:                notReached,
	routersim.LoginBanner:           unproven,
	routersim.OldAlgorithms:         good,
	routersim.NoCommonAlgorithm:     refusedBy(fault.Negotiation),
	routersim.SessionLimit:          notReached,
}

// TestMatrix orders every fault of the simulator: what is not proven whole is never published, and every refusal says why.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, f := range routersim.Faults() {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			want, ok := matrix[f]
			if !ok {
				t.Fatal("the matrix has no row for this fault")
			}
			h := newHouse(t)
			h.setFault(f)
			collector := collect.New(collect.Options{
				Timeouts: sshclient.Timeouts{Handshake: 2 * time.Second, Idle: 2 * time.Second}, Whole: want.whole,
			})
			defer collector.Close()
			w := h.worker("w1", func(o *Options) { o.Collector = collector })
			err := h.wantRun(w, want.next, want.kind)
			h.wantOutcome(want, err)
		})
	}
}

func (h *house) wantOutcome(want expectation, err error) {
	h.Helper()
	s, _ := h.state()
	if want.kind == "" {
		h.wantSnapshots(1)
		if s.Status() != backup.StatusOK || s.Proof == "" || s.Secrets == 0 {
			h.Errorf("state %+v", s)
		}
		return
	}
	h.wantSnapshots(0)
	if s.Kind != want.kind || s.Reason != err.Error() || s.Digest != "" || !s.GoodStarted.IsZero() {
		h.Errorf("state %+v", s)
	}
	suspect, text, found, err := h.stream.Suspect(h.within(), testSite, h.dev.ID)
	if err != nil {
		h.Fatal(err)
	}
	if found != want.suspect {
		h.Errorf("a suspect is kept: %t, want %t", found, want.suspect)
	}
	if found && (suspect.Reason != s.Reason || suspect.Kind != want.kind || suspect.Attempt != s.Attempt || len(text) == 0 || suspect.Bytes != len(text)) {
		h.Errorf("suspect %+v with %d bytes", suspect, len(text))
	}
}

// TestSuspectKeepsTheGoodOne is about a router that was good and then is not: the good snapshot stays the last.
func TestSuspectKeepsTheGoodOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	before, _ := h.state()
	h.router.SetPolicies("ssh", "read")
	h.wantRun(w, done, fault.Permission)
	h.wantSnapshots(1)
	s, _ := h.state()
	if s.Digest != before.Digest || s.SnapshotSeq != before.SnapshotSeq || s.Secrets != before.Secrets || !s.GoodStarted.Equal(before.GoodStarted) {
		t.Errorf("state %+v, before %+v", s, before)
	}
	h.ask(true) // lifts blocks, and nothing else
	h.wantRun(w, done, fault.Permission)
	_, revision := h.state()
	request := backup.Request{ID: "r", Since: revision, WithoutSecrets: true, By: "test", At: time.Now()} // the router has none any more
	if _, err := h.store.PutRequest(h.within(), h.key, request); err != nil {
		t.Fatal(err)
	}
	h.wantRun(w, done, "")
	if s, _ := h.state(); s.Secrets != 0 || s.Result != backup.ResultChanged || !s.NoSecrets {
		t.Errorf("state %+v", s)
	}
	h.wantSnapshots(2)
	h.wantRun(w, done, "") // by itself
	h.router.SetPolicies("ssh", "read", "sensitive")
	h.wantRun(w, done, "")
	h.router.SetPolicies("ssh", "read") // what showed some again is guarded again
	h.wantRun(w, done, fault.Permission)
	h.wantSnapshots(3)
}

// TestHostKeyAccepted shows that the block tells which key was shown.
func TestHostKeyBlockTellsTheKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	h.router.RotateHostKey()
	h.wantRun(w, stop, fault.HostKey)
	s, _ := h.state()
	if s.Block == nil || s.Block.HostKey == nil || s.Block.HostKey.Fingerprint != h.router.HostKeyFingerprint() {
		t.Fatalf("block %+v", s.Block)
	}
}

// TestLegacyIsRemembered finds the outdated algorithms in the state.
func TestLegacyIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if err := h.router.SetEra(routersim.EraCBC); err != nil {
		t.Fatal(err)
	}
	w := h.worker("w1")
	h.wantRun(w, done, "")
	if s, _ := h.state(); !strings.Contains(strings.Join(s.Legacy, " "), "cbc") || s.Proof != routeros.ProofMarker {
		t.Errorf("state %+v", s)
	}
	if err := h.router.SetEra(routersim.EraModern); err != nil {
		t.Fatal(err)
	}
	if err := h.store.ForgetHostKey(h.within(), h.key); err != nil {
		t.Fatal(err)
	}
	h.wantRun(w, done, "")
	if s, _ := h.state(); len(s.Legacy) > 0 {
		t.Errorf("still outdated: %q", s.Legacy)
	}
}

// TestThroughAJumpHost goes through a second router; its host key is put on record like any other.
func TestThroughAJumpHost(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bastion := h.anotherRouter()
	bastion.SetForwarding(true)
	jump := h.dev
	jump.ID, jump.Address, jump.Port, jump.Enabled = bastion.ID(), bastion.Address(), bastion.Port(), false
	if err := h.store.PutDevice(h.within(), jump); err != nil {
		t.Fatal(err)
	}
	h.dev.Jumps = append(h.dev.Jumps, jumpTo(jump))
	if err := h.store.PutDevice(h.within(), h.dev); err != nil {
		t.Fatal(err)
	}
	w := h.worker("w1")
	h.wantRun(w, done, "")
	if k, found, err := h.store.HostKey(h.within(), jump.Key()); err != nil || !found || k.Fingerprint != bastion.HostKeyFingerprint() {
		t.Errorf("host key of the jump host: %+v %t %v", k, found, err)
	}
	bastion.RotateHostKey()
	w = h.worker("w2") // a process that has no connection yet
	h.wantRun(w, again(1), fault.Unreachable)
	if s, _ := h.state(); s.Block != nil || !strings.Contains(s.Reason, "jump host "+bastion.ID()) {
		t.Errorf("state %+v", s)
	}

	h.amend(func(s *backup.State) { s.NextAt = time.Time{} })
	if err := os.Remove(h.password); err != nil { // nothing is dialled without the credential of every hop
		t.Fatal(err)
	}
	h.wantRun(h.worker("w3"), back, fault.Infrastructure)
	h.wantSnapshots(1)
}

// acceptedMeanwhile is the real store, in which an operator accepts the router's new key while a session is refused for it.
type acceptedMeanwhile struct {
	Store
	key device.HostKey
}

func (s *acceptedMeanwhile) HostKey(ctx context.Context, key string, anew bool) (device.HostKey, bool, error) {
	if anew {
		return s.key, true, nil
	}
	return s.Store.HostKey(ctx, key, anew)
}

func TestHostKeyAcceptedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.wantRun(h.worker("w1"), done, "")
	h.router.RotateHostKey()
	w := h.worker("w2", func(o *Options) {
		o.Store = &acceptedMeanwhile{Store: state.NewLatest(h.store), key: device.HostKey{Fingerprint: h.router.HostKeyFingerprint()}}
	})
	h.wantRun(w, back, fault.Infrastructure)
	if s, _ := h.state(); s.Block != nil {
		t.Errorf("block %+v", s.Block)
	}
}

// TestFileLeft is about a file that could not be removed: the next session begins with that.
func TestFileLeft(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.wantRun(h.worker("w1"), done, "")
	h.amend(func(s *backup.State) { s.FileLeft = true })
	h.setFault(routersim.Refused)
	h.wantRun(h.worker("w1"), again(1), fault.Unreachable)
	if s, _ := h.state(); !s.FileLeft {
		t.Error("forgotten by a session that did not reach the router")
	}
	h.setFault(routersim.NoFault)
	h.amend(func(s *backup.State) { s.NextAt = time.Time{} })
	h.wantRun(h.worker("w1"), done, "")
	if s, _ := h.state(); !s.FileLeft { // the user has no policy ftp
		t.Error("forgotten although it could not be removed")
	}
	h.router.SetPolicies("ssh", "read", "sensitive", "write", "ftp")
	h.wantRun(h.worker("w1"), done, "")
	if s, _ := h.state(); s.FileLeft {
		t.Error("still said to be left")
	}
}
