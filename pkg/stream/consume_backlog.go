package stream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// fill says how full the stream of snapshots and the object store are.
func (s *Stream) fill(ctx context.Context) (stream jetstream.Stream, b backup.Backlog, err error) {
	err = natsio.Do(ctx, ReadTimeout, "look at streams", func(ctx context.Context) (err error) {
		if stream, err = s.conn.JetStream().Stream(ctx, SnapshotStream); err != nil {
			return err
		}
		large, err := s.conn.JetStream().Stream(ctx, "OBJ_"+LargeBucket)
		if err != nil {
			return err
		}
		b.Fill, b.LargeFill = ratio(stream), ratio(large)
		return nil
	})
	return stream, b, natsio.Fail("look at streams", err)
}

func ratio(s jetstream.Stream) float64 {
	info := s.CachedInfo()
	if info.Config.MaxBytes <= 0 {
		return 0
	}
	return float64(info.State.Bytes) / float64(info.Config.MaxBytes)
}

// Backlog says what stands on the streams and has not been archived, and how full they are.
func (s *Stream) Backlog(ctx context.Context) (backup.Backlog, error) {
	const step = "look at streams"
	stream, b, err := s.fill(ctx)
	if err != nil {
		return b, err
	}
	snapshots, found, err := s.place(ctx, SnapshotStream)
	if err != nil || !found {
		return b, natsio.Fail(step, err)
	}
	b.Archiver, b.Pending = true, snapshots.NumPending+uint64(max(snapshots.NumAckPending, 0))
	events, found, err := s.place(ctx, EventStream)
	if err != nil {
		return b, natsio.Fail(step, err)
	}
	if found {
		b.Events = events.NumPending + uint64(max(events.NumAckPending, 0))
	}
	if b.Pending == 0 {
		return b, nil
	}
	err = natsio.Do(ctx, ReadTimeout, step, func(ctx context.Context) error {
		m, err := stream.GetMsg(ctx, snapshots.AckFloor.Stream+1, jetstream.WithGetMsgSubject("config.snapshot.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) { // taken and removed meanwhile
			return nil
		}
		if err == nil {
			b.Oldest = m.Time
		}
		return err
	})
	return b, natsio.Fail(step, err)
}

// place reads where the archiver is on a stream.
func (s *Stream) place(ctx context.Context, stream string) (info *jetstream.ConsumerInfo, found bool, err error) {
	err = natsio.Do(ctx, ReadTimeout, "look at consumer", func(ctx context.Context) error {
		c, err := s.conn.JetStream().Consumer(ctx, stream, ArchiverName)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil
		}
		if err == nil {
			info, found = c.CachedInfo(), true
		}
		return err
	})
	return info, found, err
}
