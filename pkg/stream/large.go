package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
)

// ObjectMax is the size of the largest event that is read from the object store, in bytes. The JSON of a text may take
// several times the text.
const ObjectMax = 4 * RawMax

// chunkMax is how much of an object travels in one message.
const chunkMax = 128 << 10

// errObjectLost says that reading the object again would change nothing.
var errObjectLost = errors.New("its object in the object store is gone or broken")

// putObject stores an event under the digest of its bytes and returns that name. What is there already is not written again.
func (s *Stream) putObject(ctx context.Context, event []byte) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, ObjectTimeout, fmt.Errorf("large snapshot not stored within %s", ObjectTimeout))
	defer cancel()
	sum := sha256.Sum256(event)
	name := hex.EncodeToString(sum[:])
	_, err := s.large.GetInfo(ctx, name)
	if err == nil {
		return name, nil
	}
	if !errors.Is(err, jetstream.ErrObjectNotFound) {
		return "", cause(ctx, err)
	}
	chunk := uint32(min(chunkMax, s.conn.MaxPayload()/2))
	_, err = s.large.Put(ctx, jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunk}}, bytes.NewReader(event))
	if err != nil {
		return "", cause(ctx, fmt.Errorf("object store %s: %w", LargeBucket, err))
	}
	return name, nil
}

// object reads what putObject stored. An error that wraps errObjectLost will not go by itself.
func (s *Stream) object(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, ObjectTimeout, fmt.Errorf("large snapshot not read within %s", ObjectTimeout))
	defer cancel()
	object, err := s.large.Get(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, errObjectLost
	}
	if err != nil {
		return nil, cause(ctx, err)
	}
	data, err := io.ReadAll(io.LimitReader(object, ObjectMax))
	switch err = errors.Join(err, object.Close()); {
	case errors.Is(err, jetstream.ErrDigestMismatch):
		return nil, fmt.Errorf("%w: %w", errObjectLost, err)
	case err != nil:
		return nil, cause(ctx, err)
	}
	return data, nil
}

// whole gives a snapshot with its texts, from the object store where they are not in the message. Object keeps its name.
func (s *Stream) whole(ctx context.Context, snap backup.Snapshot) (backup.Snapshot, error) {
	if snap.Object == "" {
		return snap, nil
	}
	data, err := s.object(ctx, snap.Object)
	if err != nil {
		return snap, err
	}
	opened, err := backup.DecodeSnapshot(data)
	if err != nil {
		return snap, fmt.Errorf("%w: %w", errObjectLost, err)
	}
	opened.Object = snap.Object
	return opened, nil
}
