package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/bench"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/secret"
)

// benchPartCmd are the processes of a benchmark that are no commands of confhaul. They get their job on standard input and
// answer on standard output, in JSON.
func (e *env) benchPartCmd() *cobra.Command {
	part := &cobra.Command{Use: "part", Hidden: true, Args: args(cobra.NoArgs), RunE: help}
	for _, p := range []struct {
		name string
		run  func(context.Context) error
	}{{"fleet", e.benchFleet}, {"bare", e.benchBare}, {"nats", e.benchNATS}} {
		part.AddCommand(&cobra.Command{Use: p.name, Args: args(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			return p.run(cmd.Context())
		}})
	}
	part.AddCommand(e.benchWorkerCmd())
	return part
}

func (e *env) job(v any) error {
	if err := json.NewDecoder(e.in).Decode(v); err != nil {
		return noJob(err)
	}
	return nil
}

func noJob(err error) error {
	return usage(fmt.Errorf("this is for confhaul bench alone: no job on standard input: %w", err))
}

// say answers who started this process.
func (e *env) say(m benchMessage) error { return json.NewEncoder(e.out).Encode(m) }

// sayDone tells how far this process is; where nobody hears it, the end does not fail to be heard either.
func (e *env) sayDone(n int) { _ = e.say(benchMessage{Done: n}) }

func (e *env) benchFleet(ctx context.Context) error {
	var job bench.FleetJob
	if err := e.job(&job); err != nil {
		return err
	}
	fleet, err := bench.StartFleet(ctx, job, e.sayDone)
	if err != nil {
		return err
	}
	err = e.say(benchMessage{Targets: fleet.Targets})
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, fleet.Close())
}

func (e *env) benchBare(ctx context.Context) error {
	var job bench.BareJob
	if err := e.job(&job); err != nil {
		return err
	}
	stop := func() error { return nil }
	if job.Profile != "" {
		var err error
		if stop, err = startProfile(job.Profile); err != nil {
			return err
		}
	}
	s, err := bench.Bare(ctx, job, e.sayDone)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	err = e.say(benchMessage{Sweep: &s})
	if err == nil {
		<-ctx.Done() // an end that nobody asked for is a fault
	}
	return err
}

// natsJob travels between two processes of ours, so it holds the token in clear.
type natsJob struct {
	Dir   string `json:"dir"`
	Token string `json:"token"`
}

// natsAsk asks the NATS process for natsMessages, those since its start.
type natsAsk struct{}

type natsMessages struct {
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

func (e *env) benchNATS(ctx context.Context) error {
	in := json.NewDecoder(e.in) // for all that is asked: it may read ahead
	var job natsJob
	if err := in.Decode(&job); err != nil {
		return noJob(err)
	}
	server, err := embedded.StartNATS(ctx, embedded.NATSOptions{Dir: job.Dir, Token: secret.New(job.Token)})
	if err != nil {
		return err
	}
	u, err := url.Parse(server.URL().Reveal())
	if err == nil {
		err = e.say(benchMessage{Address: u.Host})
	}
	if err == nil {
		err = e.answerNATS(ctx, in, server)
	}
	return errors.Join(err, server.Stop())
}

// answerNATS answers until ctx ends. Reading ends later, as who started this process closes its standard input.
func (e *env) answerNATS(ctx context.Context, in *json.Decoder, server *embedded.NATS) error {
	done := make(chan error, 1)
	go func() {
		for {
			err := in.Decode(&natsAsk{})
			if err != nil {
				done <- err
				return
			}
			var m natsMessages
			m.In, m.Out, err = server.Messages()
			if err = errors.Join(err, json.NewEncoder(e.out).Encode(m)); err != nil {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		if !errors.Is(err, io.EOF) {
			return err
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}

// benchWorkerCmd is confhaul worker with a profile to order.
func (e *env) benchWorkerCmd() *cobra.Command {
	address := ""
	cmd := &cobra.Command{
		Use: "worker", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, log, err := e.process(address, "credentials")
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), s, log.With("process", "worker"), []app.Role{app.Work(nil), e.profileToOrder}, nil)
		},
	}
	listen(cmd, &address)
	return cmd
}

// profileOrder begins a profile into a file; the next one, without a name, ends it and is sent back when it is written.
type profileOrder struct {
	Begin string `json:"begin"`
}

// profileToOrder follows one order on standard input. Reading that ends with it, as who started this process closes it.
func (e *env) profileToOrder(ctx context.Context, _ *app.Process) error {
	done := make(chan error, 1)
	go func() {
		in := json.NewDecoder(e.in)
		var begin, end profileOrder
		err := in.Decode(&begin)
		if err == nil {
			var stop func() error
			if stop, err = startProfile(begin.Begin); err == nil {
				err = errors.Join(in.Decode(&end), stop())
			}
		}
		if err == nil {
			err = json.NewEncoder(e.out).Encode(end)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}

// profileRate is samples per second of CPU time: as many as a kernel that ticks 250 times a second can give. The usual 100
// would see a sweep over 1,000 routers a hundred times.
const profileRate = 250

// startProfile profiles the CPU into a file until stop, which puts the allocations since the process' start beside it.
func startProfile(path string) (stop func() error, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	runtime.SetCPUProfileRate(profileRate) // StartCPUProfile asks for 100, is refused on standard error, and goes on with this
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(f.Close(), writeAllocations(strings.TrimSuffix(path, filepath.Ext(path))))
	}, nil
}

// writeAllocations writes beside KIND.cpu.pprof, given as KIND.cpu.
func writeAllocations(base string) error {
	f, err := os.Create(strings.TrimSuffix(base, ".cpu") + ".allocs.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
