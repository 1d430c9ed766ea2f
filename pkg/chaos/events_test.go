package chaos

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

const (
	text = "/ip address\r\nadd address=10.0.0.1/24\r\n"
	raw  = "# 2026 by RouterOS\r\n" + text
)

// snapshot is a whole event, with a change.
func snapshot(t *testing.T, change map[string]any) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	e := map[string]any{
		"device_id": "a", "tenant_id": "default", "collected_at": at(1), "sha256_hash": hex.EncodeToString(sum[:]), "config_text": text,
		"bytes": len(raw), "complete": true, "raw_snappy": s2.EncodeSnappy(nil, []byte(raw)),
	}
	for k, v := range change {
		e[k] = v
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadMessage(t *testing.T) {
	t.Parallel()
	printed := func(device, s string) bool { return device == "a" && s == text }
	const create = "config.snapshot.create.oslo.a"
	for name, c := range map[string]struct {
		subject string
		change  map[string]any
		want    string
	}{
		"whole":             {create, nil, ""},
		"digest":            {create, map[string]any{"sha256_hash": "00"}, "sha256_hash"},
		"cut text":          {create, map[string]any{"config_text": text[:9]}, "sha256_hash"},
		"not complete":      {create, map[string]any{"complete": false}, "not complete"},
		"no raw text":       {create, map[string]any{"raw_snappy": nil}, "does not open"},
		"broken raw text":   {create, map[string]any{"raw_snappy": []byte("no snappy")}, "does not open"},
		"length":            {create, map[string]any{"bytes": 7}, "the event says 7"},
		"another's subject": {"config.snapshot.create.oslo.b", nil, "subject"},
		"another's text":    {"config.snapshot.create.oslo.b", map[string]any{"device_id": "b"}, "never printed"},
		"no tenant":         {create, map[string]any{"tenant_id": ""}, "tenant"},
		"no time":           {create, map[string]any{"collected_at": "0001-01-01T00:00:00Z"}, "time is missing"},
		"unchanged":         {"config.backup.unchanged.oslo.a", map[string]any{"config_text": ""}, ""},
		"nothing unchanged": {"config.backup.unchanged.oslo.a", map[string]any{"sha256_hash": ""}, "digest"},
		"failed":            {"config.backup.failed.oslo.a", map[string]any{"sha256_hash": ""}, ""},
	} {
		m := ReadMessage(c.subject, 7, at(2), snapshot(t, c.change), printed)
		if c.want == "" && m.Problem != "" || !strings.Contains(m.Problem, c.want) {
			t.Errorf("%s: %q, want %q", name, m.Problem, c.want)
		}
	}
	if m := ReadMessage(create, 7, at(2), []byte("{"), printed); m.Problem == "" {
		t.Error("half a JSON passes")
	}
}

func TestBrokenEvents(t *testing.T) {
	t.Parallel()
	snap := func(digest string, started float64) Message {
		return Message{Subject: "config.snapshot.create.oslo.a", Device: "a", Snapshot: true, Digest: digest, Started: at(started)}
	}
	for name, c := range map[string]struct {
		messages []Message
		proofs   []Proof
		want     int
	}{
		"whole":              {messages: []Message{snap("1", 11), snap("2", 21)}, proofs: []Proof{{"a", at(21)}}},
		"there and back":     {messages: []Message{snap("1", 11), snap("2", 21), snap("1", 22)}},
		"a problem":          {messages: []Message{{Device: "a", Problem: "cut"}}, want: 1},
		"twice":              {messages: []Message{snap("1", 11), snap("1", 21)}, want: 1},
		"older after newer":  {messages: []Message{snap("1", 21), snap("2", 11)}, want: 1},
		"no such session":    {messages: []Message{snap("1", 15)}, want: 1},
		"no such state":      {proofs: []Proof{{"a", at(15)}}, want: 1},
		"of another":         {proofs: []Proof{{"b", at(11)}}, want: 1},
		"refused":            {proofs: []Proof{{"c", at(11)}}, want: 1},
		"a failure, no time": {messages: []Message{{Device: "a", Subject: "config.backup.failed.oslo.a"}}},
	} {
		e := evidence(Healthy, nil, ses("a", 10, 12), refused("c", 10, 12), ses("a", 20, 23))
		e.Messages, e.Proofs = c.messages, c.proofs
		if got := BrokenEvents(e); len(got) != c.want {
			t.Errorf("%s: %v, want %d", name, got, c.want)
		}
	}
}
