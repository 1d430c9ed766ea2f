package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

func (e *env) settingsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "settings", Short: "Check settings, and make those of Redis and NATS", Args: args(cobra.NoArgs), RunE: help}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Check settings, inventory, credentials and tokens as start-up does", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return e.runSettingsCheck() },
	})
	cmd.AddCommand(e.settingsACLCmd())
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

type settingsReport struct {
	Redis       string `json:"redis"`
	NATS        string `json:"nats"`
	Devices     int    `json:"devices"`
	Sites       int    `json:"sites"`
	Credentials int    `json:"credentials"`
	Tokens      int    `json:"dashboard_tokens"`
}

func (e *env) runSettingsCheck() error {
	s, err := e.settings()
	if err != nil {
		return err
	}
	files, err := app.LoadFiles(s)
	tokens, tokensErr := 0, error(nil)
	if s.Dashboard.Tokens != "" {
		var t *dashboard.Tokens
		if t, tokensErr = dashboard.OpenTokens(s.Dashboard.Tokens); tokensErr == nil {
			tokens = t.Len()
		}
	}
	if s.ListenTLS.Cert != "" {
		_, certErr := telemetry.OpenCertificate(s.ListenTLS.Cert, s.ListenTLS.Key, nil)
		err = errors.Join(err, certErr)
	}
	if err := errors.Join(err, tokensErr); err != nil {
		return usage(err)
	}
	return e.printSettings(s, files, tokens)
}

func (e *env) printSettings(s settings.Settings, files app.Files, tokens int) error {
	r := settingsReport{Redis: s.Redis.String(), NATS: s.NATS.String(), Credentials: len(files.CredentialNames()), Tokens: tokens}
	sites := map[string]bool{}
	for _, d := range files.Devices() {
		r.Devices++
		sites[d.Site] = true
	}
	r.Sites = len(sites)
	if e.output == "json" {
		return printJSON(e.out, r)
	}
	_, err := fmt.Fprintf(e.out, "settings ok: redis %s, nats %s\n", r.Redis, r.NATS)
	if files.Inventory != nil {
		_, ierr := fmt.Fprintf(e.out, "inventory ok: %s on %s\n", plural(r.Devices, "device"), plural(r.Sites, "site"))
		err = errors.Join(err, ierr)
	}
	if files.Credentials != nil {
		_, cerr := fmt.Fprintf(e.out, "credentials ok: %d\n", r.Credentials)
		err = errors.Join(err, cerr)
	}
	if s.Dashboard.Tokens != "" {
		_, terr := fmt.Fprintf(e.out, "dashboard ok: %s\n", plural(tokens, "token"))
		err = errors.Join(err, terr)
	}
	return err
}
