package stream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/delta"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// PublishSuspect keeps a text that was not proven in place of the device's last one. What does not fit a message is cut off
// at its end.
func (s *Stream) PublishSuspect(ctx context.Context, suspect backup.Suspect, text []byte) error {
	const step = "publish suspect"
	suspect.V, suspect.Bytes = backup.EventVersion, len(text)
	var err error
	if suspect.TextZstd, err = packFit(text, s.suspectRoom(suspect)); err != nil {
		return fault.New(fault.Internal, step, "%w", err)
	}
	data, err := backup.EncodeEvent(suspect)
	if err != nil {
		return fault.New(fault.Internal, step, "%w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, PublishTimeout, fmt.Errorf("no answer from NATS within %s", PublishTimeout))
	defer cancel()
	subject := suspectPrefix + device.Key(suspect.Site, suspect.DeviceID)
	if _, err = s.conn.JetStream().Publish(ctx, subject, data, jetstream.WithExpectStream(SuspectStream)); err != nil {
		return natsio.Fail(step, cause(ctx, err))
	}
	return nil
}

// suspectRoom is how many bytes the compressed text may have.
func (s *Stream) suspectRoom(suspect backup.Suspect) int {
	const frame = 4 << 10 // what surrounds the reason, and its escapes, with much to spare
	return base64.StdEncoding.DecodedLen(max(int(s.conn.MaxPayload())-frame-6*len(suspect.Reason), 0))
}

// packFit compresses as much of the beginning of text as fits room bytes: half and half again of what does not, so that
// the work stays within twice that of the whole.
func packFit(text []byte, room int) ([]byte, error) {
	text = text[:min(len(text), RawMax)] // more would not open again
	for {
		packed, err := delta.Pack(text, nil)
		if err != nil || len(packed) <= room || len(text) == 0 {
			return packed, err
		}
		text = text[:len(text)/2]
	}
}

// Suspect reads the text that a device's last unproven attempt brought, if one is kept. The text may be shorter than Bytes.
func (s *Stream) Suspect(ctx context.Context, site, id string) (suspect backup.Suspect, text []byte, found bool, err error) {
	const step = "read suspect"
	var m *jetstream.RawStreamMsg
	err = natsio.Do(ctx, ReadTimeout, step, func(ctx context.Context) error {
		stream, err := s.conn.JetStream().Stream(ctx, SuspectStream)
		if err == nil {
			m, err = stream.GetLastMsgForSubject(ctx, suspectPrefix+device.Key(site, id))
		}
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return suspect, nil, false, nil
	}
	if err != nil {
		return suspect, nil, false, natsio.Fail(step, err)
	}
	if err = json.Unmarshal(m.Data, &suspect); err == nil {
		text, err = delta.Unpack(nil, suspect.TextZstd, nil, RawMax)
	}
	if err != nil {
		return suspect, nil, false, fault.New(fault.Infrastructure, step, "the record of device %s is unreadable: %w", id, err)
	}
	return suspect, text, true, nil
}
