package app

import (
	"context"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/inventory"
	"github.com/confhaul/confhaul/worker"
)

// liftRefused lifts the blocks of devices of the sites (none: all) that refused another version of their credential than
// the one in force, or one that works again since, and says how many blocks of refused logins it saw.
func (p *Process) liftRefused(ctx context.Context, c *inventory.CredentialStore, sites []string) (refused int, err error) {
	breakers, err := p.Store.Breakers(ctx)
	if err != nil {
		return 0, err
	}
	states, err := p.Store.States(ctx, sites...)
	if err != nil {
		return 0, err
	}
	versions := p.versions(c)
	for key, s := range states {
		if s.Block == nil || s.Block.Kind != fault.Auth {
			continue
		}
		d, found, err := p.Store.Device(ctx, key)
		if err != nil {
			return refused, err
		}
		if !found {
			continue
		}
		refused++
		if err := p.liftOne(ctx, d, versions(ctx, d.Credential), breakers); err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// liftOne lifts the block of a device where nothing speaks for it any more.
func (p *Process) liftOne(ctx context.Context, d device.Device, version string, breakers map[string]backup.Breaker) error {
	why := ""
	lifted, err := p.amend(ctx, d.Key(), func(s *backup.State) bool {
		switch now := time.Now(); {
		case s.Block == nil || s.Block.Kind != fault.Auth:
			return false
		case breakers[s.Block.CredentialVersion].Voids(*s.Block):
			why = "the credential works again"
		case worker.Lifted(*s, now, version):
			why, s.LiftedAt, s.Refused = "the credential changed", now, s.Block.CredentialVersion
		default:
			return false
		}
		s.Block = nil
		return true
	})
	if lifted {
		p.Log.Info("block lifted: "+why, "device", d.ID, "site", d.Site, "credential", d.Credential)
	}
	return err
}

// versions gives the version in force of a credential by name, each asked for once; "" where its source does not answer.
func (p *Process) versions(c *inventory.CredentialStore) func(ctx context.Context, name string) string {
	known := map[string]string{}
	return func(ctx context.Context, name string) string {
		version, ok := known[name]
		if !ok {
			cred, err := c.Credential(ctx, name)
			if err != nil {
				p.Log.Warn("credential not readable: its blocked devices stay blocked", "credential", name, "err", err)
			}
			version = cred.Version
			known[name] = version
		}
		return version
	}
}

// ResumeCredential lifts the pause of every version of a credential and says how many were paused.
func (p *Parts) ResumeCredential(ctx context.Context, name string) (int, error) {
	breakers, err := p.Store.Breakers(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for version, b := range breakers {
		if b.Credential != name || !b.Paused() {
			continue
		}
		if err := p.Store.DeleteBreaker(ctx, version); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// PausedCredentials lists what is known of the paused credentials, by name.
func (p *Parts) PausedCredentials(ctx context.Context) (map[string]backup.Breaker, error) {
	breakers, err := p.Store.Breakers(ctx)
	if err != nil {
		return nil, err
	}
	return backup.PausedCredentials(breakers), nil
}
