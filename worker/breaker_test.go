package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// version is the credential's in force.
func (h *house) version() string {
	h.Helper()
	c, err := h.credentials.Credential(h.within(), h.dev.Credential)
	if err != nil {
		h.Fatal(err)
	}
	return c.Version
}

// setBreaker writes the credential's record as other workers would.
func (h *house) setBreaker(change func(*backup.Breaker)) {
	h.Helper()
	b, revision, err := h.store.Breaker(h.within(), h.version())
	if err != nil {
		h.Fatal(err)
	}
	change(&b)
	if _, err := h.store.PutBreaker(h.within(), h.version(), b, revision); err != nil {
		h.Fatal(err)
	}
}

func (h *house) breaker() backup.Breaker {
	h.Helper()
	b, _, err := h.store.Breaker(h.within(), h.version())
	if err != nil {
		h.Fatal(err)
	}
	return b
}

func paused(b *backup.Breaker) {
	for i := range backup.BreakerMax {
		*b = b.Refuse(time.Now(), fmt.Sprint("other", i))
	}
}

func TestPausedCredential(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	if b := h.breaker(); b.LastOpened != h.key || b.Credential != h.dev.Credential {
		t.Fatalf("record after a success %+v", b)
	}
	h.setBreaker(paused)
	h.wantRun(w, backup.Next{Action: backup.Again, Delay: backup.PausedLookDelay}, fault.Auth)
	h.wantDials(1)
	if s, _ := h.state(); s.Kind != fault.Auth || s.Block != nil || s.Failures != 0 || s.Reason == "" {
		t.Errorf("state %+v", s)
	}
	h.ask(true)
	h.wantRun(w, done, "") // somebody insists; and a login that succeeds ends the pause
	if b := h.breaker(); b.Paused() || b.Lift == nil {
		t.Errorf("record %+v", b)
	}

	// Half open: one login, which is on record before it is made.
	h.setBreaker(paused)
	h.setBreaker(func(b *backup.Breaker) { b.PausedUntil = time.Now().Add(-time.Second) })
	h.setFault(routersim.WrongPassword)
	h.wantRun(w, stop, fault.Auth)
	h.wantDials(3)
	if b := h.breaker(); !b.Paused() || b.Trials != 1 || time.Until(b.PausedUntil) < backup.TrialDelay-time.Minute {
		t.Errorf("record after a refused trial %+v", b)
	}
	h.amend(func(s *backup.State) { s.Block = nil })
	h.wantRun(w, backup.Next{Action: backup.Again, Delay: backup.PausedLookDelay}, fault.Auth)
	h.wantDials(3)

	// A trial that ends without an answer to the login leaves the next one to another device.
	h.setBreaker(func(b *backup.Breaker) { b.PausedUntil = time.Now().Add(-time.Second) })
	h.setFault(routersim.Refused)
	h.wantRun(w, again(1), fault.Unreachable)
	if b := h.breaker(); b.Trial != nil || !b.Paused() {
		t.Errorf("record after a trial without an answer %+v", b)
	}
	h.setFault(routersim.NoFault)
	h.amend(func(s *backup.State) { s.NextAt = time.Time{} })
	h.wantRun(w, done, "")
	if b := h.breaker(); b.Paused() {
		t.Errorf("record after a trial that succeeded %+v", b)
	}
}

func TestBreakerWaitsForAnotherTrial(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.worker("w1")
	h.wantRun(w, done, "")
	h.setBreaker(paused)
	h.setBreaker(func(b *backup.Breaker) {
		b.PausedUntil = time.Now().Add(-time.Second)
		*b = b.Try("another", time.Now().Add(time.Minute))
	})
	h.wantRun(w, backup.Next{Action: backup.Again, Delay: backup.PausedLookDelay}, fault.Auth)
	h.setBreaker(func(b *backup.Breaker) { b.Trial = nil })
	h.amend(func(s *backup.State) { s.OpenedBy = "another version" })
	h.wantRun(w, backup.Next{Action: backup.Again, Delay: backup.PausedLookDelay}, fault.Auth)
	h.wantDials(1)
}

// TestVersionChangeLiftsOnceAnHour is about a source that gives another value each time it is asked.
func TestVersionChangeLiftsOnceAnHour(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setFault(routersim.WrongPassword)
	w := h.worker("w1")
	h.wantRun(w, stop, fault.Auth)
	h.setPassword(otherPassword)
	h.wantRun(w, stop, fault.Auth) // dialled again: it is another version
	h.wantDials(2)
	h.setPassword(firstPassword)
	if next, _ := h.run(w); next != stop {
		t.Errorf("next is %+v", next)
	}
	h.wantDials(2)
	h.amend(func(s *backup.State) { s.LiftedAt = time.Now().Add(-backup.VersionLiftDelay) })
	h.setFault(routersim.NoFault)
	h.router.SetPassword(secret.New(firstPassword))
	h.wantRun(w, done, "")
}

// TestVersionNotReadYet: another worker has lifted the block for the changed credential; this one still has the refused one.
func TestVersionNotReadYet(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.router.SetPassword(secret.New(otherPassword))
	w := h.worker("w1")
	h.wantRun(w, stop, fault.Auth)
	h.amend(func(s *backup.State) { s.LiftedAt, s.Refused, s.Block = time.Now(), s.Block.CredentialVersion, nil })
	next, _ := h.run(w)
	if want := (backup.Next{Action: backup.Again, Delay: backup.OldVersionDelay}); next != want {
		t.Errorf("next is %+v, want %+v", next, want)
	}
	h.wantDials(1)
	h.setPassword(otherPassword)
	h.wantRun(w, done, "")
	if s, _ := h.state(); s.Refused != "" {
		t.Errorf("refused version after a login: %q", s.Refused)
	}
}
