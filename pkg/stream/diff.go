package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// PublishDiff puts a change on the stream of events. The same one is there once, if repeated within 2 minutes.
func (s *Stream) PublishDiff(ctx context.Context, d backup.Diff) error {
	const step = "publish diff"
	data, err := backup.EncodeEvent(d)
	if err != nil {
		return fault.New(fault.Internal, step, "%w", err)
	}
	id := fmt.Sprintf("diff:%s:%d:%s", d.DeviceID, d.CollectedAt.UnixNano(), d.SHA256Hash)
	return s.publishEvent(ctx, step, EventStream, diffPrefix+device.Key(d.Site, d.DeviceID), data, id)
}

// LastDiff says when the export with the new text of a device's last change on the stream began; zero: there is none.
func (s *Stream) LastDiff(ctx context.Context, site, id string) (time.Time, error) {
	const step = "read last diff"
	var m *jetstream.RawStreamMsg
	err := natsio.Do(ctx, ReadTimeout, step, func(ctx context.Context) error {
		events, err := s.conn.JetStream().Stream(ctx, EventStream)
		if err == nil {
			m, err = events.GetLastMsgForSubject(ctx, diffPrefix+device.Key(site, id))
		}
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, natsio.Fail(step, err)
	}
	var d backup.Diff
	if err := json.Unmarshal(m.Data, &d); err != nil {
		return time.Time{}, fault.New(fault.Infrastructure, step, "message %d: %w", m.Sequence, err)
	}
	return d.CollectedAt, nil
}

// WatchDiffs gives fn every change that was told since a time, as far as the stream still has it, and goes on with what comes,
// until ctx ends, which is no error, or fn fails, whose error it returns.
func (s *Stream) WatchDiffs(ctx context.Context, since time.Time, fn func(backup.Diff) error) error {
	return s.conn.Read(ctx, natsio.Reader{
		Stream: EventStream, Subjects: []string{diffPrefix + ">"}, Since: since, Report: s.report,
		OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			var d backup.Diff
			if err := json.Unmarshal(m.Data(), &d); err != nil {
				s.report(fault.New(fault.Infrastructure, "read diff", "message %d is unreadable: %w", meta.Sequence.Stream, err))
				return nil
			}
			return fn(d)
		},
	})
}
