package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
)

func (e *env) archiveCopyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "copy DIR", Short: "Copy the archive into a directory, beside an archiver", Args: args(cobra.ExactArgs(1)),
		Long: `Copy the archive as it is at this moment into a directory, which may be new and holds no archive yet. The archiver may go on
meanwhile. The copy is an archive like any other: archive.dir in the settings may name it. It holds the routers' secrets.`,
		RunE: func(cmd *cobra.Command, a []string) error { return e.runArchiveCopy(cmd.Context(), a[0]) },
	}
}

func (e *env) runArchiveCopy(ctx context.Context, to string) error {
	s, err := e.settings()
	if err != nil {
		return err
	}
	if err := app.CopyHistory(ctx, s, to); err != nil {
		return historyError(err)
	}
	_, err = fmt.Fprintf(e.out, "copied into %s\n", to)
	return err
}
