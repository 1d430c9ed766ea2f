package backup

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

// EventVersion is the V that this binary writes.
const EventVersion = 1

// Snapshot is the event of one proven export whose normal form differs from the device's last one. It travels on
// config.snapshot.create.<site>.<device>. The first seven fields are those that consumers of this event already know.
type Snapshot struct {
	DeviceID        string    `json:"device_id"`
	TenantID        string    `json:"tenant_id"`
	RouterOSVersion string    `json:"routeros_version"`
	CollectedAt     time.Time `json:"collected_at"` // when the export began
	SHA256Hash      string    `json:"sha256_hash"`  // of config_text, lower-case hex
	ConfigText      string    `json:"config_text"`  // normal form
	Normalization   int       `json:"normalization_version"`

	V            int      `json:"v"`
	Name         string   `json:"name"`
	Site         string   `json:"site"`
	Bytes        int      `json:"bytes"` // of the raw text
	Identity     string   `json:"identity"`
	Model        string   `json:"model,omitempty"`
	SerialNumber string   `json:"serial_number,omitempty"`
	Complete     bool     `json:"complete"` // always true: what is not proven is not published
	KnownGaps    []string `json:"known_gaps,omitempty"`
	Proof        string   `json:"proof"` // marker, twice or sftp
	Trigger      Reason   `json:"trigger"`
	Attempt      string   `json:"attempt"`
	RawZstd      []byte   `json:"raw_zstd"` // raw text, zstd with config_text as raw dictionary

	// Object names the whole event in the object store where it does not fit a message; config_text and raw_zstd are
	// then empty in the message.
	Object string `json:"object,omitempty"`
}

// Event is the small notice of every attempt's end, on config.backup.<type>.<site>.<device>.
type Event struct {
	V         int        `json:"v"`
	Type      EventType  `json:"type"`
	DeviceID  string     `json:"device_id"`
	TenantID  string     `json:"tenant_id"`
	Site      string     `json:"site"`
	Name      string     `json:"name"`
	At        time.Time  `json:"at"`
	Attempt   string     `json:"attempt"`
	Trigger   Reason     `json:"trigger"`
	Kind      fault.Kind `json:"kind,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Digest    string     `json:"sha256_hash,omitempty"` // of an unchanged export
	Version   string     `json:"routeros_version,omitempty"`
	Failures  int        `json:"failures,omitempty"`
	NextAt    time.Time  `json:"next_at,omitzero"`
	CollectAt time.Time  `json:"collected_at,omitzero"`
}

// EventType is the third token of an event's subject.
type EventType string

// The event types.
const (
	EventUnchanged EventType = "unchanged"
	EventFailed    EventType = "failed"
	EventBlocked   EventType = "blocked"
)

// Suspect is the text of the last attempt that brought one and could not prove it whole. It is kept for people to look at.
type Suspect struct {
	V        int        `json:"v"`
	DeviceID string     `json:"device_id"`
	Site     string     `json:"site"`
	At       time.Time  `json:"at"`
	Attempt  string     `json:"attempt"`
	Kind     fault.Kind `json:"kind"`
	Reason   string     `json:"reason"`
	Bytes    int        `json:"bytes"`     // that the router printed
	TextZstd []byte     `json:"text_zstd"` // their beginning, as much as fits a message
}

// EncodeEvent gives the JSON of a Snapshot or an Event.
func EncodeEvent(e any) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return b, nil
}

// DecodeSnapshot reads a Snapshot event; fields of newer versions are ignored.
func DecodeSnapshot(b []byte) (Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode snapshot event: %w", err)
	}
	return s, nil
}

// DecodeEvent reads an Event; fields of newer versions are ignored.
func DecodeEvent(b []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("decode event: %w", err)
	}
	return e, nil
}
