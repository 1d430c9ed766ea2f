package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/access"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/natsio"
)

func (e *env) settingsACLCmd() *cobra.Command {
	dir, sites, actions := "", []string(nil), false
	cmd := &cobra.Command{
		Use: "acl", Short: "Make users for Redis and NATS that may do what their role needs, and no more",
		Long: `Write into a directory an ACL file for Redis (redis.acl), accounts for NATS (nats.conf), and for each user a password and the seed
of an nkey in files of their own. The files of the two servers hold no secret, and all may read them. There is a user for each role (scheduler, worker
for all sites, archiver, dashboard, cli, and scaler for KEDA, in Redis alone) and a worker-SITE for each site of the inventory and of --site. Secrets that are there
stay as they are; give the sites that the inventory does not name each time.`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return e.runSettingsACL(dir, access.Options{Sites: sites, Actions: actions})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` for the files")
	cmd.Flags().StringSliceVar(&sites, "site", nil, "further `sites`, beside those of the inventory")
	cmd.Flags().BoolVar(&actions, "dashboard-actions", false, "let the dashboard ask for backups, unblock, pause sites")
	return cmd
}

func (e *env) runSettingsACL(dir string, o access.Options) error {
	if dir == "" {
		return usage(errors.New("name a directory for the files: --dir DIRECTORY"))
	}
	s, err := e.settings()
	if err != nil {
		return err
	}
	files, err := app.LoadFiles(s)
	if err != nil {
		return usage(err)
	}
	for _, d := range files.Devices() {
		o.Sites = append(o.Sites, d.Site)
	}
	slices.Sort(o.Sites)
	o.Sites = slices.Compact(o.Sites)
	for _, site := range o.Sites {
		if err := device.CheckSite(site); err != nil {
			return usage(err)
		}
	}
	users := access.Users(o)
	if err := access.Write(dir, users, natsio.InboxPrefix); err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	for _, u := range users {
		nats := ""
		if !u.NATS.None() {
			nats = ", nats_nkey_file: " + access.SeedFile(u.Name)
		}
		if u.NATS.Apart {
			nats += ", nats_api_prefix: " + access.APIPrefix
		}
		if _, err := fmt.Fprintf(e.out, "%s: redis user %s, redis_password_file: %s%s\n", u.Name, u.Name, access.PasswordFile(u.Name), nats); err != nil {
			return err
		}
	}
	return nil
}
