//go:build unix

// Command chaos kills and stops confhaul's processes, Redis and NATS from a seed, and proves from the routers' own session
// logs and the streams that no due backup was lost, none doubled and no limit exceeded. Its last line on standard output is
// a JSON ledger; it exits with 0 only where every promise was kept.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/confhaul/confhaul/pkg/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends this process at once, and the others with it
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	o := chaos.Options{Progress: os.Stderr}
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.DurationVar(&o.For, "for", time.Minute, "how long faults happen; the run goes on until every slot is done")
	f.Uint64Var(&o.Seed, "seed", 1, "the same seed makes the same fleet and the same faults")
	f.IntVar(&o.Devices, "devices", 60, "routers")
	f.IntVar(&o.Schedulers, "schedulers", 3, "scheduler processes")
	f.IntVar(&o.Workers, "workers", 3, "worker processes")
	f.IntVar(&o.Rolling, "rolling", 0, "instead of faults: so many rolling restarts of all workers")
	f.StringVar(&o.Sabotage, "sabotage", "", "switch a protection off: "+strings.Join(chaos.Sabotages(), ", "))
	f.StringVar(&o.Keep, "keep", "", "`directory` for all files, which then stay")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return 2
	}
	ledger, err := chaos.Run(ctx, o)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(ledger); err != nil || !ledger.Kept() {
		return 1
	}
	return 0
}
