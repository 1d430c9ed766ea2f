package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/bench"
)

// printSlots prints a report in tables, with a column for each round and one for all.
func (e *env) printSlots(r bench.SlotsReport) {
	_, _ = fmt.Fprintf(e.out, "%s on %s, %d KB each, %s of %s, a slot every %s\n", plural(r.Load.Devices, "router"), plural(r.Load.Sites, "site"),
		r.Load.Size/1000, plural(r.Workers, "worker"), plural(r.Load.Sessions, "session"), time.Duration(r.IntervalS*float64(time.Second)))
	e.printHead(r.Head)
	if r.FreshS > 0 {
		_, _ = fmt.Fprintf(e.out, "every router was backed up %s s after the scheduler started\n\n", figureText(r.FreshS))
	} else {
		_, _ = fmt.Fprint(e.out, "not every router was backed up within these rounds\n\n")
	}
	head, all := []string{""}, append(slices.Clone(r.Rounds), r.All)
	for i := range r.Rounds {
		head = append(head, "ROUND "+strconv.Itoa(i+1))
	}
	head = append(head, "ALL")
	t := roundsTable{all: all}
	t.row("seconds", func(r bench.Round) float64 { return r.Seconds })
	t.row("backups", func(r bench.Round) float64 { return float64(r.Backups) })
	t.row("failed attempts", func(r bench.Round) float64 { return float64(r.Total()) })
	t.row("backups per second", func(r bench.Round) float64 { return r.DevicesPerS })
	t.row("cores that confhaul used", func(r bench.Round) float64 { return r.Cores })
	t.row("backups per second of confhaul's CPU", func(r bench.Round) float64 { return r.DevicesPerCore })
	t.row("backups per second of the machine's CPU", func(r bench.Round) float64 { return r.DevicesPerBusy })
	t.row("the machine's CPUs busy, %", func(r bench.Round) float64 { return r.MachineBusyPct })
	t.row("start after the slot, p50, s", func(r bench.Round) float64 { return r.LateP50S })
	t.row("start after the slot, p99, s", func(r bench.Round) float64 { return r.LateP99S })
	t.row("the latest router overdue, s", func(r bench.Round) float64 { return r.OverdueMaxS })
	t.row("routers without a good last attempt", func(r bench.Round) float64 { return float64(r.NotGood) })
	t.row("snapshots still to be archived", func(r bench.Round) float64 { return float64(r.Unarchived) })
	t.row("Redis keys", func(r bench.Round) float64 { return float64(r.Stored.RedisKeys) })
	t.row("Redis bytes per router", func(r bench.Round) float64 { return r.Stored.RedisBytesPerDevice })
	t.row("JetStream bytes per router", func(r bench.Round) float64 { return r.Stored.StreamBytesPerDevice })
	t.row("archive bytes per router", func(r bench.Round) float64 { return r.Stored.ArchiveBytesPerDevice })
	for _, name := range bench.ProcessNames() {
		t.row(name+": CPU per backup, ms", func(r bench.Round) float64 { return r.Processes[name].CPUms })
		t.cells(name+": MB at first, middle, last; peak", func(r bench.Round) string {
			p := r.Processes[name]
			return fmt.Sprintf("%.0f %.0f %.0f; %.0f", p.First, p.Middle, p.Last, p.Peak)
		})
	}
	table(e.out, head, t.rows)
	e.printStreams(r.All.Stored)
	e.printFailures(r.All)
}

type roundsTable struct {
	all  []bench.Round
	rows [][]string
}

func (t *roundsTable) row(name string, of func(bench.Round) float64) {
	t.cells(name, func(r bench.Round) string { return figureText(of(r)) })
}

func (t *roundsTable) cells(name string, of func(bench.Round) string) {
	row := []string{name}
	for _, r := range t.all {
		row = append(row, of(r))
	}
	t.rows = append(t.rows, row)
}

// printHead says what has measured.
func (e *env) printHead(h bench.Head) {
	_, _ = fmt.Fprintf(e.out, "confhaul %s, %s %s, %s; %s\n", strings.TrimSpace(h.Version+" "+h.Commit), h.Go, h.Platform, plural(h.CPUs, "CPU"), redisText(h.Redis))
}

func redisText(kind string) string {
	if kind == "mini" {
		return "miniredis, for want of a redis-server: its CPU is not counted"
	}
	return "redis-server"
}

func (e *env) printStreams(s bench.Stored) {
	rows := [][]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Streams)) {
		one := s.Streams[name]
		rows = append(rows, []string{name, figureText(float64(one.Messages)), figureText(one.MessagesPerDevice), figureText(one.BytesPerDevice)})
	}
	_, _ = fmt.Fprintln(e.out)
	table(e.out, []string{"STREAM OR BUCKET, AT THE END", "MESSAGES", "PER ROUTER", "BYTES PER ROUTER"}, rows)
}

func (e *env) printFailures(r bench.Round) {
	if len(r.Failed) == 0 && r.NotGood == 0 {
		return
	}
	_, _ = fmt.Fprintln(e.out)
	for _, kind := range r.Kinds() {
		_, _ = fmt.Fprintf(e.out, "failed attempts, %s: %d\n", kind, r.Failed[kind])
	}
	for _, reason := range r.Reasons {
		_, _ = fmt.Fprintln(e.out, reason)
	}
}

const commandsShown = 6

// printIdle prints a report in a table.
func (e *env) printIdle(r bench.IdleReport) {
	_, _ = fmt.Fprintf(e.out, "%s on %s, nothing due, %s s\n", plural(r.Devices, "router"), plural(r.Sites, "site"), figureText(r.Seconds))
	e.printHead(r.Head)
	rows := [][]string{}
	for _, name := range bench.ProcessNames() {
		if p, runs := r.Processes[name]; runs {
			rows = append(rows, []string{name, figureText(p.CPUsPerHour), figureText(p.RSSmb)})
		}
	}
	_, _ = fmt.Fprintln(e.out)
	table(e.out, []string{"PROCESS", "CPU SECONDS PER HOUR", "MB"}, rows)
	_, _ = fmt.Fprintf(e.out, "\nRedis: %s commands per second, those of scripts included\n", figureText(r.RedisCommandsPerS))
	for _, name := range r.Busiest()[:min(commandsShown, len(r.RedisCommands))] {
		_, _ = fmt.Fprintf(e.out, "  %s %s\n", name, figureText(r.RedisCommands[name]))
	}
	_, _ = fmt.Fprintf(e.out, "NATS: %s messages per second in, %s out\n", figureText(r.NATSMessagesInPerS), figureText(r.NATSMessagesOutPerS))
}
