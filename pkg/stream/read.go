package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// objectRetryDelay is the wait before an object that could not be read is read again.
const objectRetryDelay = time.Second

// Message is what stands on a stream: a snapshot or an event.
type Message struct {
	Snapshot *backup.Snapshot
	Event    *backup.Event
	Seq      uint64    // on its stream
	Time     time.Time // when the server took it
}

// lastMessage is the newest message of a device; seq 0 means that there is none.
type lastMessage struct {
	snap backup.Snapshot // as in the message: large ones without their texts
	seq  uint64
	err  error // the message is unreadable
}

func (s *Stream) last(ctx context.Context, key string) (lastMessage, error) {
	var m *jetstream.RawStreamMsg
	err := natsio.Do(ctx, ReadTimeout, "read last snapshot", func(ctx context.Context) (err error) {
		m, err = s.snapshots.GetLastMsgForSubject(ctx, bothPrefix+key)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return lastMessage{}, nil
	}
	if err != nil {
		return lastMessage{}, err
	}
	snap, err := backup.DecodeSnapshot(m.Data)
	return lastMessage{snap: snap, seq: m.Sequence, err: err}, nil
}

// Last reads the newest snapshot of a device that is still on the stream, and its sequence.
func (s *Stream) Last(ctx context.Context, site, id string) (snap backup.Snapshot, seq uint64, found bool, err error) {
	const step = "read last snapshot"
	last, err := s.last(ctx, device.Key(site, id))
	if err != nil || last.seq == 0 {
		return snap, 0, false, natsio.Fail(step, err)
	}
	if last.err == nil {
		snap, last.err = s.whole(ctx, last.snap)
	}
	if last.err != nil {
		return snap, 0, false, fault.New(fault.Infrastructure, step, "message %d: %w", last.seq, last.err)
	}
	return snap, last.seq, true, nil
}

// Watch gives fn all that stands on the streams of snapshots and of events, each from its beginning and in its order, and what comes after, until
// ctx ends, which is no error, or fn fails, whose error it returns. All calls come from the caller's goroutine. It survives
// restarts of the server; what interrupted it, and messages that cannot be read or whose large text is gone, go to
// Options.Report.
func (s *Stream) Watch(ctx context.Context, fn func(Message) error) error {
	return s.conn.Read(ctx,
		natsio.Reader{Stream: SnapshotStream, Report: s.report, OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			snap, err := backup.DecodeSnapshot(m.Data())
			if err == nil {
				snap, err = s.wholeAtLast(ctx, snap)
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				s.skip(SnapshotStream, meta, err)
				return nil
			}
			return fn(Message{Snapshot: &snap, Seq: meta.Sequence.Stream, Time: meta.Timestamp})
		}},
		natsio.Reader{Stream: EventStream, Subjects: []string{eventPrefix + ">"}, Report: s.report, OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			event, err := backup.DecodeEvent(m.Data())
			if err != nil {
				s.skip(EventStream, meta, err)
				return nil
			}
			return fn(Message{Event: &event, Seq: meta.Sequence.Stream, Time: meta.Timestamp})
		}})
}

func (s *Stream) skip(stream string, meta *jetstream.MsgMetadata, err error) {
	s.report(fault.New(fault.Infrastructure, "watch stream", "%s message %d is left out: %w", stream, meta.Sequence.Stream, err))
}

// wholeAtLast reads the texts of a snapshot through every outage: only an object that is lost is an error.
func (s *Stream) wholeAtLast(ctx context.Context, snap backup.Snapshot) (opened backup.Snapshot, err error) {
	err = s.atLast(ctx, "watch stream", snap.Object, func(ctx context.Context) (err error) {
		opened, err = s.whole(ctx, snap)
		return err
	})
	return opened, err
}

// atLast reads an object through every outage: it returns when that is done, when the object is lost, or when ctx ends.
func (s *Stream) atLast(ctx context.Context, step, object string, read func(context.Context) error) error {
	for told := false; ; told = true {
		err := read(ctx)
		if err == nil || errors.Is(err, errObjectLost) || ctx.Err() != nil {
			return err
		}
		if !told {
			s.report(fault.New(fault.Infrastructure, step, "large snapshot %s: %w", object, err))
		}
		pause(ctx, objectRetryDelay)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Counts are the messages that stand on the streams.
type Counts struct {
	Snapshots, Unchanged, Failed, Blocked uint64
}

// Counts counts them by the server's own numbers.
func (s *Stream) Counts(ctx context.Context) (c Counts, err error) {
	for stream, subjects := range map[string]map[string]*uint64{
		SnapshotStream: {"config.snapshot.>": &c.Snapshots},
		EventStream:    {eventPrefix + "unchanged.>": &c.Unchanged, eventPrefix + "failed.>": &c.Failed, eventPrefix + "blocked.>": &c.Blocked},
	} {
		for subject, n := range subjects {
			err = natsio.Do(ctx, ReadTimeout, "count messages", func(ctx context.Context) error {
				have, err := s.conn.JetStream().Stream(ctx, stream)
				if err != nil {
					return err
				}
				info, err := have.Info(ctx, jetstream.WithSubjectFilter(subject))
				if err != nil {
					return err
				}
				*n = 0
				for _, count := range info.State.Subjects {
					*n += count
				}
				return nil
			})
			if err != nil {
				return c, err
			}
		}
	}
	return c, nil
}
