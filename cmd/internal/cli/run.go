package cli

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

// listen adds --listen to a long-running command.
func listen(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "listen", "", "`address` of metrics, health and dashboard (default 127.0.0.1:9470; port 0 takes a free one)")
}

// process loads what a long-running command needs, and checks the files it names as settings check does. Settings may be the same
// on all machines: a process that has no use for the inventory or the credentials does without, so that a site's machine need
// not have them and a mistake in them stops nobody else.
func (e *env) process(listen string, needs ...string) (settings.Settings, *slog.Logger, error) {
	log := telemetry.NewLogger(e.err, e.errTerminal, slog.LevelInfo)
	s, err := e.settings()
	if err != nil {
		return s, log, err
	}
	if listen != "" {
		s.Listen = listen
		if err := s.Validate(); err != nil {
			return s, log, usage(err)
		}
	}
	for _, need := range needs {
		if need == "inventory" && s.Inventory == "" || need == "credentials" && s.Credentials == "" {
			return s, log, usage(errors.New("the settings name no " + need + " file: add " + need + ": FILE (see --config)"))
		}
	}
	if slices.Contains(needs, "tokens") && s.Dashboard.Tokens != "" {
		if _, err := dashboard.OpenTokens(s.Dashboard.Tokens); err != nil {
			return s, log, usage(err)
		}
	}
	if s.ListenTLS.Cert != "" {
		if _, err := telemetry.OpenCertificate(s.ListenTLS.Cert, s.ListenTLS.Key, log); err != nil {
			return s, log, usage(err)
		}
	}
	if slices.Contains(needs, "archive") && s.Archive.Dir == "" {
		return s, log, usage(errors.New("the settings name no directory for the archive: add archive: {dir: DIRECTORY} (see --config)"))
	}
	if !slices.Contains(needs, "plan") {
		s.Inventory = ""
		if !slices.Contains(needs, "credentials") {
			s.Credentials = ""
		}
	}
	if _, err := app.LoadFiles(s); err != nil {
		return s, log, usage(err)
	}
	return s, log, nil
}

func (e *env) schedulerCmd() *cobra.Command {
	address := ""
	cmd := &cobra.Command{
		Use: "scheduler", Short: "Put a task into the queue for every device that is due; run two or more", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := e.process(address, "plan")
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), s, log.With("process", "scheduler"), []app.Role{app.Schedule(false)}, nil)
		},
	}
	listen(cmd, &address)
	return cmd
}

func (e *env) workerCmd() *cobra.Command {
	address, sites, sessions := "", []string(nil), 0
	cmd := &cobra.Command{
		Use: "worker", Short: "Back up devices; run as many as you like, at the sites or central", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := e.process(address, "credentials")
			if err != nil {
				return err
			}
			for _, site := range sites {
				if err := device.CheckSite(site); err != nil {
					return usage(err)
				}
			}
			if sessions != 0 {
				s.Concurrency = sessions
			}
			if err := s.Validate(); err != nil {
				return usage(err)
			}
			return app.Join(cmd.Context(), s, log.With("process", "worker"), app.Work(sites))
		},
	}
	listen(cmd, &address)
	cmd.Flags().StringSliceVar(&sites, "site", nil, "only these `sites` (default: all there are and will be)")
	cmd.Flags().IntVar(&sessions, "concurrency", 0, "`sessions` at once (default 10)")
	return cmd
}

func (e *env) archiverCmd() *cobra.Command {
	address := ""
	cmd := &cobra.Command{
		Use: "archiver", Short: "Turn the stream of snapshots into history; one for each archive",
		Long: `Take every snapshot off the stream and store it once in the archive (archive.dir in the settings, on a local disk). It may be
stopped or killed at any time and catches up; a second one on the same archive waits until the first has ended. While the
archive is not written, snapshots stay on the stream, which refuses new ones when it is full.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := e.process(address, "archive")
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), s, log.With("process", "archiver"), []app.Role{app.Archive}, nil)
		},
	}
	listen(cmd, &address)
	return cmd
}

func (e *env) dashboardCmd() *cobra.Command {
	address, queueActions := "", false
	cmd := &cobra.Command{
		Use: "dashboard", Short: "Serve pages about the fleet, and buttons for operators",
		Long: `Serve pages about the fleet: how fresh the backups of every site are, which devices are blocked, failing or stale and what
helps, the queues, paused credentials, what changed, and each device's history where the archive (archive.dir) is on this
machine. Operators can ask for a backup, lift a block, pause and resume sites and resume credentials there. The pages need no
JavaScript; with it they keep themselves true. At /queues stands asynqmon, the queues' own dashboard, which changes nothing
unless --allow-actions is given. No block is lifted there, and a task that is deleted is made again by a scheduler.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := e.process(address, "tokens")
			if err != nil {
				return err
			}
			if err := app.CheckDashboard(s); err != nil {
				return usage(err)
			}
			return app.Join(cmd.Context(), s, log.With("process", "dashboard"), app.Dashboard(queueActions))
		},
	}
	listen(cmd, &address)
	cmd.AddCommand(e.dashboardTokenCmd())
	cmd.Flags().BoolVar(&queueActions, "allow-actions", false, "let operators run, archive and delete tasks and pause queues at /queues")
	return cmd
}

func (e *env) upCmd() *cobra.Command {
	address := ""
	cmd := &cobra.Command{
		Use: "up", Short: "Run everything in this process, with Redis and NATS inside; for up to about 5,000 devices",
		Long: `Run scheduler, worker, archiver and dashboard in this process, with a Redis and a NATS of its own that keep their data in the
data directory (--data) and listen on loopback only. Other commands on this machine find it there.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := e.process(address, "plan", "inventory", "credentials", "tokens")
			if err != nil {
				return err
			}
			return app.Up(cmd.Context(), s, log, nil, nil)
		},
	}
	listen(cmd, &address)
	return cmd
}
