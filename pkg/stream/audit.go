package stream

import (
	"cmp"
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

// noName stands in a subject for a site or device that an action does not name.
const noName = "_"

// PublishAudit puts an action on the stream of actions.
func (s *Stream) PublishAudit(ctx context.Context, a backup.Audit) error {
	const step = "record action"
	data, err := backup.EncodeEvent(a)
	if err != nil {
		return fault.New(fault.Internal, step, "%w", err)
	}
	return s.publishEvent(ctx, step, AuditStream, auditPrefix+tokenOf(a.Site)+"."+tokenOf(a.DeviceID), data, "")
}

func tokenOf(name string) string {
	if name == "" {
		return noName
	}
	return device.Encode(name)
}

// AuditTimeout bounds the reading of all recorded actions.
const AuditTimeout = 30 * time.Second

// errRead ends a reading of what stood on the stream.
var errRead = errors.New("all is read")

// Audits reads the actions at a site, "" for all, that are still on the stream, oldest first. What is unreadable is left out
// and reported.
func (s *Stream) Audits(ctx context.Context, site string) ([]backup.Audit, error) {
	const step = "read actions"
	ctx, cancel := context.WithTimeoutCause(ctx, AuditTimeout, fmt.Errorf("not read within %s", AuditTimeout))
	defer cancel()
	subject, out := auditPrefix+">", []backup.Audit{}
	if site != "" {
		subject = auditPrefix + device.Encode(site) + ".>"
	}
	err := s.conn.Read(ctx, natsio.Reader{
		Stream: AuditStream, Subjects: []string{subject}, Report: s.report,
		OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			var a backup.Audit
			if err := json.Unmarshal(m.Data(), &a); err != nil {
				s.skip(AuditStream, meta, err)
				return nil
			}
			out = append(out, a)
			return nil
		},
		OnCaughtUp: func() error { return errRead },
	})
	if errors.Is(err, errRead) {
		return out, nil
	}
	return nil, natsio.Fail(step, cmp.Or(err, context.Cause(ctx)))
}
