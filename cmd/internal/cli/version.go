package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/telemetry"
)

type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
}

func (e *env) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version and build", Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			b := build()
			if e.output == "json" {
				return printJSON(e.out, b)
			}
			_, err := fmt.Fprintf(e.out, "confhaul %s %s %s\n", b.Version, b.Commit, b.Go)
			return err
		},
	}
}

func build() buildInfo {
	b := telemetry.ReadBuild()
	return buildInfo{Version: b.Version, Commit: b.Revision, Go: b.Go}
}
