package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
)

func TestSettle(t *testing.T) {
	t.Parallel()
	at := func(digest string, normalization, minute int) backup.Snapshot {
		return backup.Snapshot{SHA256Hash: digest, Normalization: normalization, CollectedAt: time.Unix(0, 0).Add(time.Duration(minute) * time.Minute)}
	}
	mine := at("m", 1, 5)
	for _, tt := range []struct {
		name string
		last lastMessage
		want settled
	}{
		{"none", lastMessage{}, adopt},
		{"own", lastMessage{snap: mine, seq: 3}, done},
		{"own digest, newer", lastMessage{snap: at("m", 1, 6), seq: 3}, done},
		{"own digest, other normalization, older", lastMessage{snap: at("m", 2, 4), seq: 3}, adopt},
		{"own digest, other normalization, newer", lastMessage{snap: at("m", 2, 6), seq: 3}, stale},
		{"older", lastMessage{snap: at("o", 1, 4), seq: 3}, adopt},
		{"as old", lastMessage{snap: at("o", 1, 5), seq: 3}, adopt},
		{"newer", lastMessage{snap: at("o", 1, 6), seq: 3}, stale},
		{"unreadable", lastMessage{seq: 3, err: errors.New("bad")}, adopt},
	} {
		if got := settle(mine, tt.last); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestRaised(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                               string
		haveBytes, wantBytes, haveN, wantN int64
		bytes, n                           int64
		changed                            bool
	}{
		{"same", 10, 10, 3, 3, 10, 3, false},
		{"wider", 10, 20, 3, 5, 20, 5, true},
		{"never lower", 20, 10, 5, 3, 20, 5, false},
		{"limit lifted", 10, 10, 3, -1, 10, -1, true},
		{"no limit stays", 10, 10, -1, 3, 10, -1, false},
	} {
		got, changed := raised(
			jetstream.StreamConfig{Name: "kept", MaxBytes: tt.haveBytes, MaxMsgsPerSubject: tt.haveN},
			jetstream.StreamConfig{MaxBytes: tt.wantBytes, MaxMsgsPerSubject: tt.wantN})
		if got.MaxBytes != tt.bytes || got.MaxMsgsPerSubject != tt.n || changed != tt.changed || got.Name != "kept" {
			t.Errorf("%s: got %d bytes, %d per subject, changed %v", tt.name, got.MaxBytes, got.MaxMsgsPerSubject, changed)
		}
	}
}
