package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is the version, which the linker sets where a package or an image is built.
var release string

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
	b := buildInfo{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	switch v := info.Main.Version; {
	case release != "":
		b.Version = release
	case v != "" && v != "(devel)":
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
}
