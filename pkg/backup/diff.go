package backup

import (
	"encoding/json"
	"time"
)

// Diff is the event of one change of a device's configuration, on config.diff.<site>.<device>. It shows no secret: sensitive
// parameters and scripts say only that they changed. There is none for a device's first snapshot.
type Diff struct {
	V               int       `json:"v"`
	DeviceID        string    `json:"device_id"`
	TenantID        string    `json:"tenant_id"`
	Site            string    `json:"site"`
	Name            string    `json:"name"`
	RouterOSVersion string    `json:"routeros_version"`
	Version         int       `json:"version"`       // its number in the archive when this was written
	SHA256Hash      string    `json:"sha256_hash"`   // of the new normal form
	PreviousHash    string    `json:"previous_hash"` // of the one before
	PreviousSeen    time.Time `json:"previous_seen"` // when the last export with the old text began: the change came after it,
	CollectedAt     time.Time `json:"collected_at"`  // and before this, when the first export with the new text began
	Trigger         string    `json:"trigger"`
	Attempt         string    `json:"attempt"`
	LinesAdded      int       `json:"lines_added"`
	LinesRemoved    int       `json:"lines_removed"`
	Summary         string    `json:"summary"` // one line in words
	ChangesTotal    int       `json:"changes_total"`
	// Changes are the first of them, as far as they fit DiffChangesMax: an array as in log -o json.
	Changes json.RawMessage `json:"changes"`
	// Text is the difference in the unified form, secrets redacted; absent where it has more than DiffTextMax.
	Text string `json:"diff,omitempty"`
}

// What a Diff has, in bytes, at most.
const (
	DiffChangesMax = 64 << 10
	DiffTextMax    = 16 << 10
)
