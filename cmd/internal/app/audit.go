package app

import (
	"context"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/dashboard"
)

// Audit records an action that somebody asks for. One that cannot be recorded is not to be done.
func (p *Parts) Audit(ctx context.Context, a backup.Audit) error {
	a.V, a.Type, a.At, a.Outcome = backup.EventVersion, backup.AuditType, time.Now().UTC(), backup.AuditAsked
	return p.Stream.PublishAudit(ctx, a)
}

// AuditCommand is Audit for whoever runs this command; site and device are "" where it names none.
func (p *Parts) AuditCommand(ctx context.Context, what, site, device string) error {
	return p.Audit(ctx, backup.Audit{
		By: Operator(), Role: string(dashboard.RoleOperator), From: backup.AuditCommand, What: what, Site: site, DeviceID: device,
	})
}
