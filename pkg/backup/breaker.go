package backup

import (
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

// Breaker is the fleet-wide record of one credential version (KV bucket credentials). It keeps a wrong or withdrawn
// password from being tried on one router after the other: each refusal counts towards a lock of the account wherever the
// routers ask a common RADIUS server.
type Breaker struct {
	Credential  string    `json:"credential"`            // its name
	LastOpened  string    `json:"last_opened,omitempty"` // key of the first device that this version opened after its last pause
	OpenedAt    time.Time `json:"opened_at,omitzero"`    // when it did
	Refusals    []string  `json:"refusals,omitempty"`    // keys of the devices that refused it with no success between, at most BreakerMax
	Since       time.Time `json:"since,omitzero"`        // when the first of them did
	PausedUntil time.Time `json:"paused_until,omitzero"` // zero: it is not paused
	Trials      int       `json:"trials,omitempty"`      // made in this pause
	Trial       *Trial    `json:"trial,omitempty"`       // the one under way
	Lift        *Lift     `json:"lift,omitempty"`        // what the last success undid
}

// Trial is the one login that a paused credential is allowed.
type Trial struct {
	Device string    `json:"device"` // key
	Until  time.Time `json:"until"`
}

// Lift says that the blocks which devices got for refusing this version between two moments are void.
type Lift struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// What pauses a credential version, and for how long.
const (
	BreakerMax       = 5                // devices that refuse it in a row
	FirstTrialDelay  = 15 * time.Minute // from the pause to the first trial
	TrialDelay       = time.Hour        // from one trial to the next
	PausedLookDelay  = 30 * time.Second // before a waiting task looks again: also another version of the credential may have come
	VersionLiftDelay = time.Hour        // from one block of a device that a change of version lifted to the next

	clockSlack = 10 * time.Second // by which the clocks of two workers may differ
)

// Paused says whether devices are kept from being dialled with this version.
func (b Breaker) Paused() bool { return !b.PausedUntil.IsZero() }

// Admit says whether the device may be dialled now: at once, as the trial, or not before at. opened says that this version
// opened the device before; where it has opened any, only such a device makes the trial, for another could refuse it for a
// reason of its own.
func (b Breaker) Admit(now time.Time, opened bool) (ok, trial bool, at time.Time) {
	switch {
	case !b.Paused():
		return true, false, time.Time{}
	case now.Before(b.PausedUntil):
		return false, false, b.PausedUntil
	case b.Trial != nil && now.Before(b.Trial.Until):
		return false, false, now.Add(PausedLookDelay)
	case b.LastOpened != "" && !opened:
		return false, false, now.Add(PausedLookDelay)
	}
	return true, true, time.Time{}
}

// Try is the record with the device's trial under way, which counts until a moment.
func (b Breaker) Try(device string, until time.Time) Breaker {
	b.Trial = &Trial{Device: device, Until: until}
	b.Trials++
	return b
}

// Refuse is the record after the device refused the version.
func (b Breaker) Refuse(now time.Time, device string) Breaker {
	if len(b.Refusals) == 0 {
		b.Since = now
	}
	if !slices.Contains(b.Refusals, device) && len(b.Refusals) < BreakerMax {
		b.Refusals = append(slices.Clone(b.Refusals), device)
	}
	trial := b.Trial != nil && b.Trial.Device == device
	switch {
	case trial:
		b.PausedUntil, b.Trial = now.Add(TrialDelay), nil
	case !b.Paused() && len(b.Refusals) >= BreakerMax:
		b.PausedUntil, b.Trials = now.Add(FirstTrialDelay), 0
	}
	return b
}

// Fail is the record after the device's trial ended without an answer to the login: another one makes the next.
func (b Breaker) Fail(device string) Breaker {
	if b.Trial != nil && b.Trial.Device == device {
		b.Trial = nil
		b.Trials--
	}
	return b
}

// Open is the record after the device took the version, and whether that changes it.
func (b Breaker) Open(now time.Time, device string) (Breaker, bool) {
	if b.LastOpened != "" && len(b.Refusals) == 0 && !b.Paused() {
		return b, false
	}
	next := Breaker{Credential: b.Credential, LastOpened: device, OpenedAt: now, Lift: b.Lift}
	if b.Paused() { // else the devices that refused it have reasons of their own
		next.Lift = &Lift{From: b.Since.Add(-clockSlack), To: now.Add(clockSlack)}
	}
	return next, true
}

// Replaces says whether b, of another version of the same credential, opened a device after old was paused: nobody is kept
// out by old any more.
func (b Breaker) Replaces(old Breaker) bool {
	return b.Credential == old.Credential && !b.Paused() && b.OpenedAt.After(old.Since)
}

// Voids says whether a block for refusing this version was undone by a later success.
func (b Breaker) Voids(block Block) bool {
	return b.Lift != nil && !block.At.Before(b.Lift.From) && !block.At.After(b.Lift.To)
}

// PausedCredentials lists what is known of the paused credentials, by name, from all records by version. A paused version is
// left out when another one of the same credential has opened a device since.
func PausedCredentials(breakers map[string]Breaker) map[string]Breaker {
	out := map[string]Breaker{}
	for version, b := range breakers {
		replaced := false
		for other, o := range breakers {
			replaced = replaced || secret.OtherVersion(version, other) && o.Replaces(b)
		}
		if b.Paused() && !replaced {
			out[b.Credential] = b
		}
	}
	return out
}
