package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
)

const (
	stateStream    = "KV_confhaul-state"
	snapshotStream = "CONFIG_SNAPSHOTS"
	eventStream    = "CONFIG_EVENTS"
	messageTimeout = 2 * time.Second // of the reading of one
	followInterval = 200 * time.Millisecond
)

// reader reads streams message by message with a plain NATS client, so that a restart of the server costs it nothing.
type reader struct {
	nc *nats.Conn
	js jetstream.JetStream
}

func newReader(url string) (*reader, error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(followInterval), nats.RetryOnFailedConnect(true), nats.Name("chaos"))
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &reader{nc, js}, nil
}

func (r *reader) close() { r.nc.Close() }

// from gives fn every message from a sequence on and returns the sequence to go on with. A stream that is not there yet has
// none.
func (r *reader) from(ctx context.Context, stream string, seq uint64, fn func(*jetstream.RawStreamMsg) error) (uint64, error) {
	for {
		m, err := r.next(ctx, stream, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return seq, nil
		}
		if err != nil {
			return seq, fmt.Errorf("read %s: %w", stream, err)
		}
		if err := fn(m); err != nil {
			return seq, err
		}
		seq = m.Sequence + 1
	}
}

func (r *reader) next(ctx context.Context, stream string, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, messageTimeout)
	defer cancel()
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.GetMsg(ctx, max(seq, 1), jetstream.WithGetMsgSubject(">"))
}

// decodeProof reads a state record; ok is false where it holds no proven export.
func decodeProof(m *jetstream.RawStreamMsg) (p Proof, ok bool, err error) {
	var s backup.State
	if len(m.Data) == 0 {
		return p, false, nil
	}
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return p, false, fmt.Errorf("state %s: %w", m.Subject, err)
	}
	return Proof{Device: lastToken(m.Subject), Started: s.GoodStarted}, !s.GoodStarted.IsZero(), nil
}

func lastToken(subject string) string {
	for i := len(subject) - 1; i >= 0; i-- {
		if subject[i] == '.' {
			return subject[i+1:]
		}
	}
	return subject
}
