package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

const stepPublish = "publish snapshot"

// headerRoom is what the headers of a snapshot take of the server's max payload, at most.
const headerRoom = 4 << 10

// buffer is what one snapshot is encoded in; what is published has been copied when the call returns.
type buffer struct{ raw, data []byte }

const bufferMax = 8 << 20 // bytes of one that is kept for the next snapshot

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func (b *buffer) free() {
	if cap(b.raw) <= bufferMax && cap(b.data) <= bufferMax {
		buffers.Put(b)
	}
}

// message is one snapshot on its way.
type message struct {
	snap    backup.Snapshot // without its texts
	key     string
	subject string
	data    []byte
}

// PublishSnapshot puts a snapshot on the stream, with raw packed into it, and returns its sequence there. Expected is the
// sequence of the device's last snapshot as the caller knows it; 0: none.
//
// One call may be made again after any failure: the message is on the stream once. When another snapshot of the device is
// there than the caller knows, the same digest counts as done, an older one is followed by ours, and a newer one makes the
// error wrap backup.ErrStale. The error is fault.Internal where the text cannot travel or the server took ours for an old
// message, and fault.Infrastructure otherwise; nothing is repeated here.
func (s *Stream) PublishSnapshot(ctx context.Context, snap backup.Snapshot, raw []byte, expected uint64) (uint64, error) {
	if !utf8.ValidString(snap.ConfigText) { // it would be no JSON
		return 0, fault.New(fault.Internal, stepPublish, "the normal form is not UTF-8")
	}
	b := buffers.Get().(*buffer)
	defer b.free()
	if need := s2.MaxEncodedLen(len(raw)); cap(b.raw) < need {
		b.raw = make([]byte, need)
	}
	snap.RawSnappy = s2.EncodeSnappy(b.raw[:cap(b.raw)], raw)
	m, err := s.prepare(ctx, snap, b)
	if err != nil {
		return 0, err
	}
	seq, err := s.try(ctx, m, expected)
	if !wrongLast(err) {
		return seq, natsio.Fail(stepPublish, err)
	}
	last, err := s.last(ctx, m.key)
	if err != nil {
		return 0, natsio.Fail(stepPublish, err)
	}
	switch settle(m.snap, last) {
	case done:
		return last.seq, nil
	case stale:
		return 0, fault.New(fault.Infrastructure, stepPublish, "collected at %s, the last one at %s: %w", m.snap.CollectedAt, last.snap.CollectedAt, backup.ErrStale)
	}
	seq, err = s.try(ctx, m, last.seq)
	return seq, natsio.Fail(stepPublish, err) // a second refusal means that another worker is at it: the caller comes back
}

// settled is what a refused snapshot does next.
type settled int

const (
	adopt settled = iota // follow the last one
	done                 // it is there already
	stale                // a newer one is there
)

// settle compares a refused snapshot with the device's last one on the stream. Digests compare within one normalization
// version only.
func settle(mine backup.Snapshot, last lastMessage) settled {
	switch {
	case last.seq == 0, last.err != nil: // one that nobody can read is not worth more than ours
		return adopt
	case last.snap.SHA256Hash == mine.SHA256Hash && last.snap.Normalization == mine.Normalization:
		return done
	case last.snap.CollectedAt.After(mine.CollectedAt):
		return stale
	}
	return adopt
}

// prepare encodes a snapshot and puts it into the object store where it does not fit a message.
func (s *Stream) prepare(ctx context.Context, snap backup.Snapshot, b *buffer) (message, error) {
	key := device.Key(snap.Site, snap.DeviceID)
	m := message{key: key, subject: createPrefix + key, snap: snap}
	var err error
	if b.data, err = backup.AppendSnapshot(b.data[:0], snap); err != nil {
		return m, fault.New(fault.Internal, stepPublish, "%w", err)
	}
	m.data = b.data
	m.snap.ConfigText, m.snap.RawSnappy = "", nil
	if int64(len(m.data))+headerRoom <= s.conn.MaxPayload() {
		return m, nil
	}
	if m.snap.Object, err = s.putObject(ctx, m.data); err != nil {
		return m, natsio.Fail(stepPublish, err)
	}
	m.subject = largePrefix + key
	if m.data, err = backup.EncodeEvent(m.snap); err != nil {
		return m, fault.New(fault.Internal, stepPublish, "%w", err)
	}
	return m, nil
}

// errFull is JetStream's code for a stream at its MaxBytes that discards the new; nats.go has no name for it.
const errFull = 10077

// try publishes once. The message id names what is expected to come before, so that a configuration that returns to what
// it was two minutes ago is no duplicate.
func (s *Stream) try(ctx context.Context, m message, expected uint64) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, PublishTimeout, fmt.Errorf("no answer from NATS within %s", PublishTimeout))
	defer cancel()
	ack, err := s.conn.JetStream().PublishMsg(ctx, &nats.Msg{Subject: m.subject, Data: m.data},
		jetstream.WithMsgID(fmt.Sprintf("%s:%d:%s", m.snap.DeviceID, expected, m.snap.SHA256Hash)),
		jetstream.WithExpectStream(SnapshotStream),
		jetstream.WithExpectLastSequenceForSubject(expected, bothPrefix+m.key))
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == errFull {
		return 0, fmt.Errorf("stream %s is full and refuses rather than drops: see that the archiver runs, or raise stream.snapshot_bytes and restart: %w", SnapshotStream, err)
	}
	if err != nil {
		return 0, cause(ctx, err)
	}
	if ack.Duplicate && ack.Sequence <= expected {
		return 0, fault.New(fault.Internal, stepPublish, "the server took it for message %d, which is not after %d: nothing was stored", ack.Sequence, expected)
	}
	return ack.Sequence, nil
}

// PublishEvent puts an event on the stream of events; where that is full, the oldest goes. The same event of the same
// attempt is there once, if repeated within 2 minutes.
func (s *Stream) PublishEvent(ctx context.Context, e backup.Event) error {
	const step = "publish event"
	switch e.Type {
	case backup.EventUnchanged, backup.EventFailed, backup.EventBlocked:
	default:
		return fault.New(fault.Internal, step, "%q is not the type of an event", e.Type)
	}
	data, err := backup.EncodeEvent(e)
	if err != nil {
		return fault.New(fault.Internal, step, "%w", err)
	}
	id := ""
	if e.Attempt != "" {
		id = fmt.Sprintf("%s:%s:%s", e.DeviceID, e.Attempt, e.Type)
	}
	return s.publishEvent(ctx, step, EventStream, eventPrefix+string(e.Type)+"."+device.Key(e.Site, e.DeviceID), data, id)
}

// publishEvent puts data on a stream of small messages; id tells a repetition, "" none.
func (s *Stream) publishEvent(ctx context.Context, step, stream, subject string, data []byte, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, PublishTimeout, fmt.Errorf("no answer from NATS within %s", PublishTimeout))
	defer cancel()
	opts := []jetstream.PublishOpt{jetstream.WithExpectStream(stream)}
	if id != "" {
		opts = append(opts, jetstream.WithMsgID(id))
	}
	if _, err := s.conn.JetStream().Publish(ctx, subject, data, opts...); err != nil {
		return natsio.Fail(step, cause(ctx, err))
	}
	return nil
}

// wrongLast says whether the server refused because of the expected sequence; a replicated stream says so in another way
// than a single one.
func wrongLast(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// cause puts the name of the deadline in place of "context deadline exceeded".
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}
