package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

func (e *env) unblockCmd() *cobra.Command {
	return &cobra.Command{
		Use: "unblock DEVICE...", Short: "Let blocked devices be backed up again",
		Long: `Lift the blocks of devices. A device that refused its login is tried again with the credential as it is now. One whose
host key differs is blocked again at the next attempt: see confhaul hostkey forget.`,
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

func (e *env) hostkeyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "hostkey", Short: "Look after the routers' host keys", Args: args(cobra.NoArgs), RunE: help}
	cmd.AddCommand(&cobra.Command{
		Use: "forget DEVICE...", Short: "Forget a host key: the next backup records the one it is shown",
		Long: `Forget the host keys on record of devices that were replaced, reset or given a new key, and lift their blocks. The
next backup records whatever key it is shown, so compare the new fingerprint in the reason of the block (confhaul
status) with the router first.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return e.eachDevice(cmd.Context(), a, func(ctx context.Context, p *app.Parts, d device.Device) (string, error) {
				key, found, err := p.Store.HostKey(ctx, d.Key())
				if err != nil {
					return "", err
				}
				result := "had no host key on record"
				if found {
					result = "forgot " + key.Type + " " + key.Fingerprint
					err = p.Store.ForgetHostKey(ctx, d.Key())
				}
				if err != nil {
					return "", err
				}
				_, err = p.Lift(ctx, d.Key(), func(b backup.Block) bool { return b.Kind == fault.HostKey })
				return result, err
			})
		},
	})
	return cmd
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
			return usage(fmt.Errorf("device %q is not in the registry (see confhaul inventory list)", id))
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
