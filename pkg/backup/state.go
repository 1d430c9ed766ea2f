package backup

import (
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// State is what is known of one device's backups (KV bucket state, key <site>.<device>). Only workers write it, by
// compare-and-set; schedulers and people read it.
type State struct {
	V int `json:"v"`

	// The last proven export.
	GoodStarted   time.Time `json:"good_started,omitzero"` // when it began; a slot at or before this is done
	GoodAt        time.Time `json:"good_at,omitzero"`      // when it was stored on the stream
	Digest        string    `json:"digest,omitempty"`
	Normalization int       `json:"normalization_version,omitempty"`
	SnapshotSeq   uint64    `json:"snapshot_seq,omitempty"` // stream sequence of the device's last snapshot
	Version       string    `json:"routeros_version,omitempty"`
	Identity      string    `json:"identity,omitempty"`
	Bytes         int       `json:"bytes,omitempty"`
	KnownGaps     []string  `json:"known_gaps,omitempty"`
	Proof         string    `json:"proof,omitempty"`
	Secrets       int       `json:"secrets,omitempty"`   // values of sensitive parameters in it
	Legacy        []string  `json:"legacy,omitempty"`    // outdated algorithms that its connection needed
	OpenedBy      string    `json:"opened_by,omitempty"` // version of the credential that last opened the device

	// The last attempt, good or not.
	Attempt         string     `json:"attempt,omitempty"`
	AttemptStarted  time.Time  `json:"attempt_started,omitzero"`
	AttemptEnded    time.Time  `json:"attempt_ended,omitzero"`
	AttemptRevision uint64     `json:"attempt_revision,omitempty"` // KV revision of its running mark: what began before a request is below the request's
	Result          Result     `json:"result,omitempty"`
	Kind            fault.Kind `json:"kind,omitempty"`
	Reason          string     `json:"reason,omitempty"`
	Worker          string     `json:"worker,omitempty"`
	SeenGaps        []string   `json:"seen_gaps,omitempty"` // menus its export could not print; the same ones twice are a known gap

	// What keeps or spurs the next one.
	FileLeft  bool      `json:"file_left,omitempty"`  // a file with an export may be left on the router
	NoSecrets bool      `json:"no_secrets,omitempty"` // somebody said that the router has none; until some show again
	LastDial  time.Time `json:"last_dial,omitzero"`
	Failures  int       `json:"failures,omitempty"`    // in a row, counted ones only
	NextAt    time.Time `json:"next_at,omitzero"`      // not before, after a counted failure or a fault of ours
	PutBack   uint64    `json:"put_back,omitempty"`    // KV revision of the mark of the last attempt that a fault of ours ended
	SettledAt time.Time `json:"settled_at,omitzero"`   // slots at or before this are given up until the next one
	Lost      int       `json:"lost_leases,omitempty"` // in a row
	Running   *Running  `json:"running,omitempty"`
	Block     *Block    `json:"block,omitempty"`
	LiftedAt  time.Time `json:"lifted_at,omitzero"` // when another version of the credential last lifted a block

	// Refused is the version of the credential whose block that was, until the router takes a login: a worker that still has
	// it has not read the change.
	Refused string `json:"refused,omitempty"`
}

// StateVersion is the V that this binary writes.
const StateVersion = 1

// Running marks that a worker has a session to the device. It counts until Until, which the worker keeps moving.
type Running struct {
	Attempt string    `json:"attempt"`
	Worker  string    `json:"worker"`
	Started time.Time `json:"started"`
	Until   time.Time `json:"until"`
	Dialled bool      `json:"dialled"` // a lost lease after this waits for the router's sake
}

// Live says whether the mark still counts at now.
func (r *Running) Live(now time.Time) bool {
	return r != nil && now.Before(r.Until) && !Sabotaged("lock")
}

// Blocked says whether the device is not to be dialled until its block is lifted.
func (s State) Blocked() bool { return s.Block != nil && !Sabotaged("block") }

// Block keeps a device from being dialled until somebody or something lifts it.
type Block struct {
	Kind              fault.Kind `json:"kind"`
	Reason            string     `json:"reason"`
	At                time.Time  `json:"at"`
	CredentialVersion string     `json:"credential_version,omitempty"` // the refused one; another version lifts the block

	HostKey *device.HostKey `json:"host_key,omitempty"` // of Kind hostkey: the one that was shown
}

// Result is how an attempt ended.
type Result string

// The results.
const (
	ResultChanged   Result = "changed"   // a snapshot was published
	ResultUnchanged Result = "unchanged" // proven, and equal to the last one
	ResultFailed    Result = "failed"
	ResultBlocked   Result = "blocked"
)

// Good says whether the attempt ended with a proven export.
func (r Result) Good() bool { return r == ResultChanged || r == ResultUnchanged }

// Status is the one word an operator gets for a device.
type Status string

// The statuses.
const (
	StatusOK      Status = "ok"      // the last attempt gave a proven export
	StatusFailing Status = "failing" // the last attempt failed; it will be tried again
	StatusBlocked Status = "blocked" // nothing happens until the block is lifted
	StatusPending Status = "pending" // never attempted
)

// Status derives the word from the state.
func (s State) Status() Status {
	switch {
	case s.Block != nil:
		return StatusBlocked
	case s.Result == "":
		return StatusPending
	case s.Result.Good():
		return StatusOK
	}
	return StatusFailing
}

// Done says whether slot needs no further attempt: a proven export began at or after it, or it was given up.
func (s State) Done(slot int64) bool {
	t := time.Unix(slot, 0)
	return !s.GoodStarted.Before(t) || !s.SettledAt.Before(t)
}

// aheadMax is how far ahead of the reader's clock a time of the past may lie: processes whose clocks differ more do not run.
const aheadMax = time.Minute

// Believed is the state without what a clock wrote that ran far ahead: a backup that began in the future would stand for all
// slots until then, and a next attempt that was counted from there would never come.
func (s State) Believed(now time.Time) State {
	ahead := func(t time.Time) bool { return t.Sub(now) > aheadMax }
	if ahead(s.AttemptEnded) || ahead(s.LastDial) {
		s.NextAt = time.Time{}
	}
	if s.Running != nil && ahead(s.Running.Started) {
		s.Running = nil
	}
	for _, t := range []*time.Time{&s.GoodStarted, &s.SettledAt, &s.LastDial, &s.LiftedAt} {
		if ahead(*t) {
			*t = time.Time{}
		}
	}
	return s
}

// Request asks for a backup of one device now (KV bucket requests). An attempt whose running mark has a higher state
// revision than Since serves it.
type Request struct {
	ID    string `json:"id"`
	Since uint64 `json:"since_revision"` // the device's state revision when it was made; 0: there was none
	Force bool   `json:"force,omitempty"`

	// WithoutSecrets takes an export in which no secrets show: the router has none.
	WithoutSecrets bool      `json:"without_secrets,omitempty"`
	By             string    `json:"by"`
	At             time.Time `json:"at"`
}

// ServedBy says whether the last ended attempt began after the request.
func (r Request) ServedBy(s State) bool { return s.AttemptRevision > r.Since }
