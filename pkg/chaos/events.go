package chaos

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/confhaul/confhaul/pkg/routersim"
)

// Message is one event on a stream, as a consumer that knows nothing of confhaul's code reads it.
type Message struct {
	Subject  string
	Seq      uint64
	At       time.Time // when the server took it
	Device   string
	Snapshot bool
	Digest   string
	Started  time.Time // of the export; zero in an event of a failure
	Failures int       // in a row, counted against the device; in an event of a failure
	Problem  string    // "" where it is whole
}

const snapshotPrefix = "config.snapshot."

// ReadMessage reads an event and looks whether it is whole. printed says whether the device has ever printed the text,
// given without comment lines.
func ReadMessage(subject string, seq uint64, at time.Time, data []byte, printed func(device, text string) bool) Message {
	var e struct {
		DeviceID    string    `json:"device_id"`
		TenantID    string    `json:"tenant_id"`
		CollectedAt time.Time `json:"collected_at"`
		Hash        string    `json:"sha256_hash"`
		ConfigText  string    `json:"config_text"`
		Bytes       int       `json:"bytes"`
		Complete    bool      `json:"complete"`
		RawSnappy   []byte    `json:"raw_snappy"`
		Failures    int       `json:"failures"`
	}
	m := Message{Subject: subject, Seq: seq, At: at, Snapshot: strings.HasPrefix(subject, snapshotPrefix)}
	if err := json.Unmarshal(data, &e); err != nil {
		m.Problem = "no JSON: " + err.Error()
		return m
	}
	m.Device, m.Digest, m.Started, m.Failures = e.DeviceID, e.Hash, e.CollectedAt, e.Failures
	unchanged := strings.Contains(subject, ".unchanged.")
	switch {
	case e.DeviceID == "" || e.TenantID == "" || !strings.HasSuffix(subject, "."+e.DeviceID):
		m.Problem = "device or tenant is missing, or not that of the subject"
	case (m.Snapshot || unchanged) && (e.Hash == "" || e.CollectedAt.IsZero()):
		m.Problem = "digest or time is missing"
	case m.Snapshot:
		sum := sha256.Sum256([]byte(e.ConfigText))
		raw, err := openRaw(e.RawSnappy)
		switch {
		case hex.EncodeToString(sum[:]) != e.Hash:
			m.Problem = "sha256_hash is not that of config_text"
		case !e.Complete:
			m.Problem = "not complete"
		case err != nil:
			m.Problem = "raw text does not open: " + err.Error()
		case len(raw) != e.Bytes:
			m.Problem = fmt.Sprintf("raw text of %d bytes, the event says %d", len(raw), e.Bytes)
		case !printed(e.DeviceID, WithoutComments(string(raw))):
			m.Problem = "raw text that the router never printed"
		}
	}
	return m
}

// rawMax bounds an opened text, in bytes; the largest export of the lab is far below.
const rawMax = 32 << 20

func openRaw(packed []byte) ([]byte, error) {
	switch n, err := s2.DecodedLen(packed); {
	case len(packed) == 0:
		return nil, errors.New("there is none")
	case err != nil:
		return nil, err
	case n > rawMax:
		return nil, fmt.Errorf("it has %d bytes", n)
	}
	return s2.Decode(nil, packed)
}

// WithoutComments takes away what one printing of a configuration does not share with the next: the date and the status
// comments.
func WithoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// BrokenEvents finds the events that are not whole, tell of an export that no router gave, or repeat or precede the
// snapshot before them; and proofs in the state store that no router gave.
func BrokenEvents(e Evidence) []Breach {
	sessions := e.bySession()
	last := map[string]Message{}
	var out []Breach
	for _, m := range e.Messages {
		problem := m.Problem
		before := last[m.Device]
		switch {
		case problem != "":
		case !m.Started.IsZero() && !given(sessions[m.Device], m.Started):
			problem = "tells of an export of " + clock(m.Started) + ", of which its router knows nothing"
		case m.Snapshot && before.Digest == m.Digest:
			problem = fmt.Sprintf("published twice: message %d has the same text", before.Seq)
		case m.Snapshot && m.Started.Before(before.Started):
			problem = fmt.Sprintf("older than message %d before it", before.Seq)
		}
		if m.Snapshot {
			last[m.Device] = m
		}
		if problem != "" {
			out = append(out, Breach{"broken_events", m.Device, m.At, fmt.Sprintf("%s message %d: %s", m.Subject, m.Seq, problem)})
		}
	}
	for _, p := range e.Proofs {
		if !given(sessions[p.Device], p.Started) {
			out = append(out, Breach{"broken_events", p.Device, p.Started, "the state tells of an export of which its router knows nothing"})
		}
	}
	return out
}

// Counted finds the failures that were counted against healthy devices, where processes were asked to end and nothing else
// was done to them: what else confhaul cannot know from a fault of the router.
func Counted(e Evidence) []Breach {
	for _, f := range e.Faults {
		if f.Act != Term {
			return nil
		}
	}
	healthy := map[string]bool{}
	for _, d := range e.Devices {
		healthy[d.ID] = d.Sort == Healthy
	}
	var out []Breach
	for _, m := range e.Messages {
		if m.Failures > 0 && healthy[m.Device] {
			out = append(out, Breach{"counted", m.Device, m.At, fmt.Sprintf("failure %d in a row is counted against the device", m.Failures)})
		}
	}
	return out
}

// given says whether one of the sessions can have given the export that began at t.
func given(sessions []Session, t time.Time) bool {
	for _, s := range sessions {
		if s.Login == routersim.LoginOK && s.Bytes > 0 && !t.Before(s.From) && (s.Open || !t.After(s.To)) {
			return true
		}
	}
	return false
}
