package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/inventory"
	"github.com/confhaul/confhaul/pkg/settings"
)

// Files are the inventory and the credentials that the settings name; what they do not name is nil.
type Files struct {
	Inventory   *inventory.File
	Credentials *inventory.Credentials
}

// LoadFiles reads and checks both files against each other. The error joins one line per problem.
func LoadFiles(s settings.Settings) (Files, error) {
	var (
		f    Files
		errs []error
		err  error
	)
	if s.Credentials != "" {
		if f.Credentials, err = inventory.LoadCredentials(s.Credentials); err != nil {
			errs = append(errs, err)
		}
	}
	if s.Inventory != "" {
		if f.Inventory, err = inventory.Load(s.Inventory); err != nil {
			errs = append(errs, err)
		}
	}
	if f.Inventory != nil && f.Credentials != nil {
		if err := f.Inventory.CheckCredentials(f.Credentials.Names()); err != nil {
			errs = append(errs, err)
		}
	}
	return f, errors.Join(errs...)
}

// Devices of the inventory; none without one.
func (f Files) Devices() []device.Device {
	if f.Inventory == nil {
		return nil
	}
	return f.Inventory.Devices
}

// CredentialNames of the credentials file; none without one.
func (f Files) CredentialNames() []string {
	if f.Credentials == nil {
		return nil
	}
	return f.Credentials.Names()
}

// ErrNoInventory is what needs an inventory and has none.
var ErrNoInventory = errors.New("the settings name no inventory: add inventory: FILE to the settings file")

// ApplyInventory brings the registry in line with the inventory file, once. accept lets a file through that removes many
// devices.
func (p *Parts) ApplyInventory(ctx context.Context, accept bool) (inventory.Report, error) {
	if p.Settings.Inventory == "" {
		return inventory.Report{}, ErrNoInventory
	}
	return p.applier().Refresh(ctx, accept)
}

// applier checks an inventory against the credentials file, where this process has one, before it is applied.
func (p *Parts) applier() *inventory.Applier {
	check := func(f *inventory.File) error {
		if p.Settings.Credentials == "" {
			return nil
		}
		c, err := inventory.LoadCredentials(p.Settings.Credentials)
		if err != nil {
			return err
		}
		return f.CheckCredentials(c.Names())
	}
	return inventory.NewApplier(p.Settings.Inventory, p.Store, check, time.Now)
}

// registryTimeout is how long a command waits for an inventory that is being written into the registry.
const registryTimeout = 10 * time.Second

// EnsureRegistry loads the inventory into a registry that has never seen one, as a scheduler does at its start, and lets a
// scheduler that is at it finish, so that nobody has to wait for one. A move that waits for an open session is no reason to
// wait here.
func (p *Parts) EnsureRegistry(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, registryTimeout, fmt.Errorf("load inventory: the registry was not complete within %s", registryTimeout))
	defer cancel()
	for {
		current, revision, err := p.Store.Inventory(ctx)
		if err != nil || current.Applied {
			return err
		}
		if revision == 0 {
			if p.Settings.Inventory == "" {
				return nil
			}
			if _, err := p.ApplyInventory(ctx, false); err != nil && !errors.Is(err, backup.ErrConflict) {
				return fmt.Errorf("load inventory: %w", err)
			}
		} else if devices, err := p.Store.Devices(ctx); err != nil || current.Generation > 1 && len(devices) > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
