package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/dashboard"
)

// newToken is what dashboard token prints.
type newToken struct {
	Name   string         `json:"name"`
	Role   dashboard.Role `json:"role"`
	Token  string         `json:"token"`
	SHA256 string         `json:"sha256"`
}

func (e *env) dashboardTokenCmd() *cobra.Command {
	role := ""
	cmd := &cobra.Command{
		Use: "token NAME", Short: "Make a token with which somebody logs in at the dashboard",
		Long: `Make a token with which somebody logs in at the dashboard, and the line that stands for it in the token file
(dashboard.tokens in the settings). The token is shown this once; the file holds its sha256 alone. A viewer sees everything
but secrets and changes nothing, an operator does both. Take the line out of the file, and the token's sessions end.

The file is a YAML file that others cannot read (chmod 600); the dashboard takes changes over within seconds:

  tokens:
    - {name: anna, role: operator, sha256: ...}`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error { return e.runDashboardToken(a[0], dashboard.Role(role)) },
	}
	cmd.Flags().StringVar(&role, "role", string(dashboard.RoleViewer), "viewer or operator, the `role` of whoever has the token")
	return cmd
}

func (e *env) runDashboardToken(name string, role dashboard.Role) error {
	if err := dashboard.CheckName(name); err != nil {
		return usage(fmt.Errorf("name %w", err))
	}
	if err := dashboard.CheckRole(role); err != nil {
		return usage(fmt.Errorf("--role %w", err))
	}
	token, sum := dashboard.NewToken()
	t := newToken{Name: name, Role: role, Token: token.Reveal(), SHA256: sum}
	if e.output == "json" {
		return printJSON(e.out, t)
	}
	_, err := fmt.Fprintf(e.out, "Token for %s, shown this once:\n\n  %s\n\nLine for the token file, below tokens:\n\n  - {name: %s, role: %s, sha256: %s}\n",
		name, t.Token, name, role, sum)
	return err
}
