package state

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// Breakers reads the records of all credential versions, by version. Unreadable ones are reported and left out.
func (s *Store) Breakers(ctx context.Context) (map[string]backup.Breaker, error) {
	const step = "list credentials"
	out := map[string]backup.Breaker{}
	prefix := subject(bucketCredentials, "")
	err := s.readAll(ctx, step, natsio.Reader{
		Stream: "KV_" + bucketPrefix + string(bucketCredentials), LastPerSubject: true, Report: s.report,
		OnMessage: func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			if m.Headers().Get(headerOperation) != "" || m.Headers().Get(headerMarker) != "" {
				return nil
			}
			var b backup.Breaker
			version, err := device.Decode(strings.TrimPrefix(m.Subject(), prefix))
			if err == nil {
				err = json.Unmarshal(m.Data(), &b)
			}
			if err != nil {
				s.report(fault.New(fault.Infrastructure, step, "the record %s is unreadable: %w", m.Subject(), err))
				return nil
			}
			out[version] = b
			return nil
		},
	})
	return out, err
}

// DeleteBreaker removes the record of a credential version: nothing is known of it then.
func (s *Store) DeleteBreaker(ctx context.Context, version string) error {
	return s.removeIfThere(ctx, bucketCredentials, device.Encode(version))
}
