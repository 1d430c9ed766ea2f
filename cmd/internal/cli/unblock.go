package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

type unblockOptions struct{ site, kind, credential string }

func (e *env) unblockCmd() *cobra.Command {
	o := unblockOptions{}
	cmd := &cobra.Command{
		Use: "unblock DEVICE...|--site SITE|--kind KIND|--credential NAME", Short: "Let blocked devices be backed up again",
		Long: `Lift the blocks of devices: of the named ones, or of all at a site, of a kind (auth, hostkey) or with a credential; the
three narrow each other down. A device that refused its login is tried again with the credential as it is now. One whose
host key differs is blocked again at the next attempt: see confhaul hostkey accept. --credential also resumes a credential
that is paused since several devices refused it in a row.`,
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runUnblock(cmd.Context(), a, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.site, "site", "", "blocked devices of this `site`")
	f.StringVar(&o.kind, "kind", "", "devices blocked for this `kind`: auth or hostkey")
	f.StringVar(&o.credential, "credential", "", "blocked devices with this credential, by `name`, and the credential itself")
	return cmd
}

func (e *env) runUnblock(ctx context.Context, ids []string, o unblockOptions) error {
	some := o != unblockOptions{}
	switch {
	case some == (len(ids) > 0):
		return usage(errors.New("name DEVICES, or use --site, --kind or --credential"))
	case o.kind != "" && o.kind != string(fault.Auth) && o.kind != string(fault.HostKey):
		return usage(fmt.Errorf("--kind %s: use auth or hostkey", o.kind))
	}
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	if some {
		if ids, err = e.blocked(ctx, p, o); err != nil {
			return err
		}
	}
	return e.eachOf(ctx, p, ids, "unblock", func(ctx context.Context, p *app.Parts, d device.Device) (string, error) {
		lifted, err := p.Lift(ctx, d.Key(), func(b backup.Block) bool { return o.kind == "" || string(b.Kind) == o.kind })
		if !lifted {
			return "was not blocked", err
		}
		return "unblocked", err
	})
}

// blocked lists the blocked devices that are meant, and resumes the credential that is.
func (e *env) blocked(ctx context.Context, p *app.Parts, o unblockOptions) ([]string, error) {
	devices, err := p.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	states, err := p.Store.States(ctx)
	if err != nil {
		return nil, err
	}
	if o.credential != "" {
		if err := p.AuditCommand(ctx, "resume-credential "+o.credential, "", ""); err != nil {
			return nil, err
		}
		n, err := p.ResumeCredential(ctx, o.credential)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			_, _ = fmt.Fprintf(e.err, "credential %s resumed\n", o.credential)
		}
	}
	ids := []string{}
	for _, d := range devices {
		b := states[d.Key()].Block
		if b != nil && (o.site == "" || d.Site == o.site) && (o.kind == "" || string(b.Kind) == o.kind) && (o.credential == "" || d.Credential == o.credential) {
			ids = append(ids, d.ID)
		}
	}
	return ids, nil
}

// eachDevice does something to each named device, which is recorded as action, and prints what became of it.
func (e *env) eachDevice(ctx context.Context, ids []string, action string, do func(context.Context, *app.Parts, device.Device) (string, error)) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	return e.eachOf(ctx, p, ids, action, do)
}

func (e *env) eachOf(ctx context.Context, p *app.Parts, ids []string, action string, do func(context.Context, *app.Parts, device.Device) (string, error)) error {
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
		if err := p.AuditCommand(ctx, action, byID[id].Site, id); err != nil {
			return fmt.Errorf("device %s: %w", id, err)
		}
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
