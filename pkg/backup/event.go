package backup

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
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
	CollectedAt     time.Time `json:"collected_at"`          // when the export began
	SHA256Hash      string    `json:"sha256_hash"`           // of config_text, lower-case hex
	ConfigText      string    `json:"config_text,omitempty"` // normal form
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
	RawSnappy    []byte   `json:"raw_snappy,omitempty"` // raw text, one block of Snappy

	// Object names the whole event in the object store where it does not fit a message; config_text and raw_snappy are
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
	if s, ok := e.(Snapshot); ok {
		return AppendSnapshot(nil, s)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return b, nil
}

// AppendSnapshot appends the JSON of a Snapshot to dst. It puts the texts, which are nearly all of a snapshot, behind what
// encoding/json makes of the rest: that would look at them byte by byte. A text that is not UTF-8 stays as it is, which is no
// JSON: who publishes looks first.
func AppendSnapshot(dst []byte, s Snapshot) ([]byte, error) {
	text, raw := s.ConfigText, s.RawSnappy
	s.ConfigText, s.RawSnappy = "", nil
	head, err := json.Marshal(s)
	if err != nil {
		return dst, fmt.Errorf("encode snapshot: %w", err)
	}
	const escapes = 8 // a text of RouterOS has fewer than one in so many bytes that is escaped
	dst = slices.Grow(dst, len(head)+len(text)+len(text)/escapes+base64.StdEncoding.EncodedLen(len(raw))+64)
	dst = append(dst, head[:len(head)-1]...)
	if text != "" {
		dst = appendString(append(dst, `,"config_text":`...), text)
	}
	if len(raw) > 0 {
		dst = append(base64.StdEncoding.AppendEncode(append(dst, `,"raw_snappy":"`...), raw), '"')
	}
	return append(dst, '}'), nil
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"')
		}
		switch c := s[n]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		s = s[n+1:]
	}
}

// plain is how many bytes of s come before the first that JSON escapes: a control character, a quote or a backslash. It looks
// at eight at once: a byte b below 0x80 is below n where b-n borrows into its highest bit.
func plain(s string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	at := 0
	for ; len(s)-at >= 8; at += 8 {
		w := s[at : at+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		quote, backslash := x^'"'*ones, x^'\\'*ones
		found := ((x-' '*ones)&^x | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for ; at < len(s); at++ {
		if c := s[at]; c < ' ' || c == '"' || c == '\\' {
			break
		}
	}
	return at
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
