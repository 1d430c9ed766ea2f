package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

func (e *env) unblockCmd() *cobra.Command {
	return &cobra.Command{
		Use: "unblock DEVICE...", Short: "Let blocked devices be backed up again",
		Long: `Lift the blocks of devices. A device that refused its login is tried again with the credential as it is now. One whose
host key differs is blocked again at the next attempt: see confhaul hostkey accept.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return e.eachDevice(cmd.Context(), a, func(ctx context.Context, p *app.Parts, d device.Device) (string, error) {
				lifted, err := p.Lift(ctx, d.Key(), func(backup.Block) bool { return true })
				if !lifted {
					return "was not blocked", err
				}
				return "unblocked", err
			})
		},
	}
}

// eachDevice does something to each named device and prints what became of it.
func (e *env) eachDevice(ctx context.Context, ids []string, do func(context.Context, *app.Parts, device.Device) (string, error)) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	registered, err := p.Store.Devices(ctx)
	if err != nil {
		return err
	}
	byID := map[string]device.Device{}
	for _, d := range registered {
		byID[d.ID] = d
	}
	type line struct {
		ID     string `json:"id"`
		Result string `json:"result"`
	}
	lines := []line{}
	for _, id := range ids {
		if _, ok := byID[id]; !ok {
			return notRegistered(id)
		}
	}
	for _, id := range ids {
		result, err := do(ctx, p, byID[id])
		if err != nil {
			return fmt.Errorf("device %s: %w", id, err)
		}
		lines = append(lines, line{id, result})
	}
	if e.output == "json" {
		return printJSON(e.out, lines)
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(e.out, "%s %s\n", l.ID, l.Result); err != nil {
			return err
		}
	}
	return nil
}

// findDevice looks a device up in the registry.
func findDevice(ctx context.Context, p *app.Parts, id string) (device.Device, error) {
	registered, err := p.Store.Devices(ctx)
	if err != nil {
		return device.Device{}, err
	}
	for _, d := range registered {
		if d.ID == id {
			return d, nil
		}
	}
	return device.Device{}, notRegistered(id)
}
