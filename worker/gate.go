package worker

import (
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Facts are what Gate decides by, beside the device's state.
type Facts struct {
	Now               time.Time
	Slot              int64
	Requested         bool // somebody asked since the last attempt began
	Forced            bool
	CredentialVersion string
	Online            string // "" where nothing is known
	RedialDelay       time.Duration
	Ladder            backup.Ladder
}

// Refusal is a decision not to dial.
type Refusal struct {
	Next backup.Next
	Why  string
}

// Gate says why a device is not to be dialled now, and nil when it is. A request passes everything but another worker's
// session and, unless forced, a block and a login with what the device refused.
func Gate(s backup.State, f Facts) *Refusal {
	s = s.Believed(f.Now)
	if s.Running.Live(f.Now) {
		return &Refusal{backup.Next{Action: backup.Again, Delay: backup.BusyDelay}, "worker " + s.Running.Worker + " has a session to the device"}
	}
	if s.Blocked() && !f.Forced && !Lifted(s, f.Now, f.CredentialVersion) {
		return &Refusal{backup.Next{Action: backup.Stop}, "blocked: " + s.Block.Reason}
	}
	if !f.Forced && s.Refused != "" && s.Refused == f.CredentialVersion && f.Now.Sub(s.LiftedAt) < backup.VersionLiftDelay {
		return &Refusal{backup.Next{Action: backup.Again, Delay: backup.OldVersionDelay}, "the credential changed, and this worker has not read it yet"}
	}
	if f.Requested {
		return nil
	}
	if s.Done(f.Slot) {
		return &Refusal{backup.Next{Action: backup.Done}, "slot done"}
	}
	earliest := latest(time.Unix(f.Slot, 0), s.NextAt, s.LastDial.Add(f.RedialDelay))
	if wait := earliest.Sub(f.Now); wait > clockSlack {
		return &Refusal{backup.Next{Action: backup.Again, Delay: wait}, fmt.Sprintf("not before %s", earliest.UTC().Format(time.RFC3339))}
	}
	if f.Online != "" && f.Online != "online" {
		return &Refusal{backup.Next{Action: backup.Again, Delay: f.Ladder.Reached(f.Now.Sub(time.Unix(f.Slot, 0)))}, "device status is " + f.Online}
	}
	return nil
}

// Lifted says whether a block has ended by itself: a login was refused with another version of the credential, and no such
// change lifted one within the last hour, as where a source gives another value each time. Versions made with another
// version key say nothing: a worker of another site has another credentials file.
func Lifted(s backup.State, now time.Time, credentialVersion string) bool {
	return s.Block.Kind == fault.Auth && secret.OtherVersion(s.Block.CredentialVersion, credentialVersion) &&
		now.Sub(s.LiftedAt) >= backup.VersionLiftDelay
}

func latest(ts ...time.Time) time.Time {
	var out time.Time
	for _, t := range ts {
		if t.After(out) {
			out = t
		}
	}
	return out
}
