package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/inventory"
)

func (e *env) inventoryCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "inventory", Short: "Check, list and apply the inventory", Args: args(cobra.NoArgs), RunE: help}
	accept := false
	apply := &cobra.Command{
		Use: "apply", Short: "Bring the registry in line with the inventory file now", Args: args(cobra.NoArgs),
		Long: `Bring the registry in line with the inventory file that the settings name. A scheduler does the same whenever the
file changes; apply is for a change that it refuses, because it removes more than 20 % and more than 10 devices.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runInventoryApply(cmd.Context(), accept) },
	}
	apply.Flags().BoolVar(&accept, "accept-removals", false, "apply a file that removes many devices")
	site := ""
	list := &cobra.Command{
		Use: "list", Short: "List the devices of the registry", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runInventoryList(cmd.Context(), site) },
	}
	list.Flags().StringVar(&site, "site", "", "only this `site`")
	cmd.AddCommand(&cobra.Command{
		Use: "check [FILE]", Short: "Check an inventory file without applying it", Args: args(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error { return e.runInventoryCheck(a) },
	}, list, apply)
	return cmd
}

func (e *env) runInventoryCheck(a []string) error {
	s, err := e.settings()
	if err != nil {
		return err
	}
	if len(a) == 1 {
		s.Inventory = a[0]
	}
	if s.Inventory == "" {
		return usage(errors.New("name a FILE, or a settings file with --config that names one"))
	}
	files, err := app.LoadFiles(s)
	if err != nil {
		return usage(err)
	}
	return e.printSettings(s, files, 0)
}

func (e *env) runInventoryList(ctx context.Context, site string) error {
	p, err := e.connectRegistry(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	all, err := p.Store.Devices(ctx)
	if err != nil {
		return err
	}
	devices := []device.Device{}
	for _, d := range all {
		if site == "" || d.Site == site {
			devices = append(devices, d)
		}
	}
	if site != "" && len(devices) == 0 {
		return usage(fmt.Errorf("--site %s: no device is on it", site))
	}
	if e.output == "json" {
		return printJSON(e.out, devices)
	}
	rows := make([][]string, 0, len(devices))
	for _, d := range devices {
		enabled := "yes"
		if !d.Enabled {
			enabled = "no"
		}
		rows = append(rows, []string{d.ID, d.Name, d.Endpoint(), d.Site, d.Tenant, d.Credential, enabled})
	}
	table(e.out, []string{"DEVICE", "NAME", "ADDRESS", "SITE", "TENANT", "CREDENTIAL", "ENABLED"}, rows)
	return nil
}

func (e *env) runInventoryApply(ctx context.Context, accept bool) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.AuditCommand(ctx, "inventory-apply", "", ""); err != nil {
		return err
	}
	r, err := p.ApplyInventory(ctx, accept)
	if err != nil {
		return inputError(err)
	}
	if e.output == "json" {
		return printJSON(e.out, r)
	}
	return e.printReport(r)
}

func (e *env) printReport(r inventory.Report) error {
	if r.Applied && r.Added+r.Changed+r.Moved+r.Removed == 0 {
		_, err := fmt.Fprintf(e.out, "nothing to apply: the registry holds this file (generation %d)\n", r.Generation)
		return err
	}
	_, err := fmt.Fprintf(e.out, "generation %d: %d added, %d changed, %d moved, %d removed", r.Generation, r.Added, r.Changed, r.Moved, r.Removed)
	if r.Pending > 0 {
		_, err = fmt.Fprintf(e.out, "; %d moves wait for a running backup: a scheduler finishes them, or apply again", r.Pending)
	}
	_, _ = fmt.Fprintln(e.out)
	return err
}

// inputError gives a problem of the files the exit code of settings; others keep theirs.
func inputError(err error) error {
	if _, ok := errors.AsType[*fault.InputError](err); ok || errors.Is(err, app.ErrNoInventory) {
		return usage(err)
	}
	return err
}
