// Package cli is confhaul's command line: one file per command with its flags, its printing and its exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/settings"
)

// Exit codes. Of several that apply to a run over many devices, the first of Unreachable, Blocked, Incomplete, Failed holds.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2 // usage or settings
	exitFailed      = 3 // some backup failed
	exitBlocked     = 4 // some device is blocked
	exitIncomplete  = 5 // some export was incomplete
	exitUnreachable = 6 // Redis or NATS not reachable
	exitStale       = 7 // some device has no recent backup
)

const exitHelp = `Exit codes: 0 done, 1 failure, 2 usage or settings, 3 some backup failed, 4 some device is blocked,
5 some export was incomplete, 6 Redis or NATS not reachable, 7 some device is stale.`

// exitError ends a command with a code. Its error is nil where everything has been said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error { return &exitError{exitUsage, err} }

// env is the world around a command.
type env struct {
	in          io.Reader
	out, err    io.Writer
	outTerminal bool
	errTerminal bool
	getenv      func(string) string
	childVars   []string              // see program
	refused     atomic.Pointer[error] // what NATS last did not let the command do

	// Flags of every command.
	config, redis, nats, data, output string
	dataGiven                         bool
}

// Main runs the program and returns its exit code. The first interrupt or SIGTERM stops cleanly, the second at once.
func Main() int { return program() }

// program is Main; childVars are variables for the processes that this one starts of its own program.
func program(childVars ...string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-finished:
			return
		}
		select {
		case <-signals:
			os.Exit(exitFailure)
		case <-finished:
		}
	}()
	e := &env{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, childVars: childVars,
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())), errTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	return e.execute(ctx, os.Args[1:])
}

func (e *env) execute(ctx context.Context, args []string) int {
	root := e.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	if x, ok := errors.AsType[*exitError](err); err != nil && (!ok || x.err != nil) {
		for _, line := range lines(err) {
			_, _ = fmt.Fprintln(e.err, "confhaul:", line)
		}
	}
	if refused := e.refused.Load(); refused != nil && code == exitUnreachable {
		_, _ = fmt.Fprintln(e.err, "confhaul: the login of these settings may not do that:", *refused)
	}
	return code
}

// lines gives each of several joined errors its own line.
func lines(err error) []string {
	if x, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the join itself, not one inside
		var out []string
		for _, one := range x.Unwrap() {
			out = append(out, lines(one)...)
		}
		return out
	}
	if x, ok := err.(*exitError); ok && x.err != nil { //nolint:errorlint // the outermost
		return lines(x.err)
	}
	return []string{err.Error()}
}

func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if x, ok := errors.AsType[*exitError](err); ok {
		return x.code
	}
	if fault.KindOf(err) == fault.Infrastructure {
		return exitUnreachable
	}
	return exitFailure
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "confhaul",
		Short: "Proven-complete, versioned configuration backups for fleets of MikroTik routers",
		Long: `confhaul keeps a proven-complete copy of the configuration of every router in a fleet.

Start with "confhaul demo", then "confhaul try ADDRESS" against one router of yours.

` + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          args(cobra.NoArgs),
		RunE:          help,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			e.dataGiven = cmd.Flags().Changed("data")
			if e.output != "table" && e.output != "json" {
				return usage(fmt.Errorf("-o %s: use table or json", e.output))
			}
			return nil
		},
	}
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetIn(e.in)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
	})
	f := root.PersistentFlags()
	f.StringVar(&e.config, "config", "", "settings `file` (YAML)")
	f.StringVar(&e.redis, "redis", "", "Redis `address`, as host:port or redis:// URL (CONFHAUL_REDIS)")
	f.StringVar(&e.nats, "nats", "", "NATS `address`, as host:port or nats:// URL (CONFHAUL_NATS)")
	f.StringVar(&e.data, "data", "", "data `directory` of up and demo; other commands find the running one there")
	f.StringVarP(&e.output, "output", "o", "table", "output `format`: table or json")
	root.AddCommand(
		e.demoCmd(), e.upCmd(), e.schedulerCmd(), e.workerCmd(), e.archiverCmd(), e.dashboardCmd(), e.readyCmd(),
		e.tryCmd(), e.backupCmd(), e.statusCmd(), e.staleCmd(), e.unblockCmd(), e.hostkeyCmd(), e.siteCmd(), e.inspectCmd(), e.inventoryCmd(), e.settingsCmd(), e.simCmd(), e.benchCmd(), e.versionCmd(),
		e.logCmd(), e.showCmd(), e.diffCmd(), e.changesCmd(), e.auditCmd(), e.searchCmd(), e.exportCmd(), e.archiveCmd(),
	)
	return root
}

// args wraps cobra's check of arguments, so that a wrong number of them is a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usage(fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath()))
		}
		return nil
	}
}

// settings are the file's, the environment's and the flags', checked.
func (e *env) settings() (settings.Settings, error) {
	s, err := settings.Load(e.config, e.getenv)
	if err != nil {
		return s, usage(err)
	}
	for _, flag := range []struct{ name, value string }{{"redis", e.redis}, {"nats", e.nats}, {"data", e.data}} {
		if flag.value == "" {
			continue
		}
		if err := s.Set(flag.name, flag.value); err != nil {
			return s, usage(fmt.Errorf("--%w", err))
		}
	}
	if err := s.Validate(); err != nil {
		return s, usage(err)
	}
	return s, nil
}

// target is the settings with the addresses of a running up or demo: the one in --data, and without any word about where
// Redis and NATS are, the one in the data directory of the settings.
func (e *env) target() (settings.Settings, error) {
	s, err := e.settings()
	if err != nil {
		return s, err
	}
	usual, err := settings.Load("", e.getenv)
	if err != nil {
		return s, usage(err)
	}
	plain := settings.Default()
	told := s.Redis != plain.Redis || s.NATS != plain.NATS || e.redis != "" || e.nats != ""
	if !e.dataGiven && (told || e.config != "" && s.Data == usual.Data) { // a settings file is about up only where it names up's data
		return s, nil
	}
	run, err := embedded.ReadRun(s.Data)
	switch {
	case err == nil:
		s.Redis, s.NATS = run.Redis, run.NATS
	case e.dataGiven:
		return s, &exitError{exitUnreachable, err}
	}
	return s, nil
}
