package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
)

func (e *env) mirrorCmd() *cobra.Command {
	anew := false
	cmd := &cobra.Command{
		Use: "mirror", Short: "Write the git mirror of the archive, as the archiver does by itself", Args: args(cobra.NoArgs),
		Long: `Bring the git mirror (git.dir in the settings) up to the archive, and push it to git.remote where that is set. It is a bare
repository with a file for each device, <site>/<name>, and a commit for each change: git clone DIR, git log -p. It holds
the routers' secrets. Nothing reads it, so it may be thrown away: --rebuild writes it anew, and over what the remote has.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runMirror(cmd.Context(), anew) },
	}
	cmd.Flags().BoolVar(&anew, "rebuild", false, "throw the repository away and write it anew")
	return cmd
}

func (e *env) runMirror(ctx context.Context, anew bool) error {
	s, err := e.settings()
	if err != nil {
		return err
	}
	if s.Git.Dir == "" {
		return usage(errors.New("archive mirror: the settings name no git.dir: add git: {dir: DIRECTORY} (see --config)"))
	}
	return e.reading(ctx, func(r archive.Reader) error {
		report, err := app.WriteMirror(ctx, s, r, anew)
		if err != nil {
			return err
		}
		if e.output == "json" {
			return printJSON(e.out, struct {
				Dir     string `json:"dir"`
				Commits int    `json:"commits"` // written now
				Devices int    `json:"devices"`
				Pushed  bool   `json:"pushed"`
			}{s.Git.Dir, report.Commits, report.Devices, s.Git.Remote != ""})
		}
		_, err = fmt.Fprintf(e.out, "%s: %s written, files of %s\n", s.Git.Dir, plural(report.Commits, "commit"), plural(report.Devices, "device"))
		if err == nil && s.Git.Remote != "" {
			_, err = fmt.Fprintln(e.out, "pushed to the remote")
		}
		return err
	})
}
