package telemetry

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

// ours returns the lines of /metrics that are values of our own, without the build.
func ours(t *testing.T, s *Server) []string {
	t.Helper()
	status, body := get(t, s, "/metrics")
	if status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "confhaul_") && !strings.HasPrefix(line, "confhaul_build_info") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func compare(t *testing.T, got []string, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(want), "\n")
	if !slices.Equal(got, lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func TestWorkerMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	s := NewServer(&Ready{}, m)
	serve(t, s)
	m.BackupDone("oslo", backup.ResultChanged, "")
	m.BackupDone("oslo", backup.ResultChanged, "")
	m.BackupDone("rome", backup.ResultBlocked, fault.Auth)
	m.StageDone("dial", 300*time.Millisecond)
	m.StageDone("dial", 400*time.Second)
	m.SessionOpened("oslo")
	m.SessionOpened("oslo")
	m.SessionClosed("oslo")
	compare(t, ours(t, s), `
confhaul_worker_backups_total{kind="",result="changed",site="oslo"} 2
confhaul_worker_backups_total{kind="auth",result="blocked",site="rome"} 1
confhaul_worker_sessions{site="oslo"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.0001"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.00025"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.0005"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.001"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.0025"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.005"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.01"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.025"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.05"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.1"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.25"} 0
confhaul_worker_stage_seconds_bucket{stage="dial",le="0.5"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="1"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="2.5"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="5"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="10"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="30"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="60"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="120"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="300"} 1
confhaul_worker_stage_seconds_bucket{stage="dial",le="+Inf"} 2
confhaul_worker_stage_seconds_sum{stage="dial"} 400.3
confhaul_worker_stage_seconds_count{stage="dial"} 2
`)
	_, body := get(t, s, "/metrics")
	for _, name := range []string{"go_goroutines ", "go_build_info{", "process_open_fds "} {
		if !strings.Contains(body, "\n"+name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestFleetMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	s := NewServer(&Ready{}, m)
	serve(t, s)
	if got := ours(t, s); len(got) > 0 {
		t.Errorf("before ObserveFleet: got %v", got)
	}
	m.ObserveFleet(func(context.Context) Fleet { return Fleet{Never: 99} })
	m.ObserveFleet(func(ctx context.Context) Fleet {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the function has no deadline")
		}
		return Fleet{
			Ages:               []time.Duration{-time.Minute, time.Hour, 25 * time.Hour, 31 * 24 * time.Hour},
			Never:              3,
			OldestOverdue:      90 * time.Second,
			ByStatus:           map[string]int{"ok": 4, "blocked": 1, "new": 2},
			Stale:              2,
			Blocked:            map[string]int{"auth": 1},
			PausedCredentials:  []string{"fleet"},
			SitesWithoutWorker: []string{"rome", "oslo", "rome"},
			HeldSites:          []string{"rome"},
			Tasks:              map[string]map[string]int{"oslo": {"pending": 5, "active": 2}},
		}
	})
	compare(t, ours(t, s), `
confhaul_credential_paused{credential="fleet"} 1
confhaul_device_backup_age_seconds_bucket{le="3600"} 2
confhaul_device_backup_age_seconds_bucket{le="21600"} 2
confhaul_device_backup_age_seconds_bucket{le="43200"} 2
confhaul_device_backup_age_seconds_bucket{le="86400"} 2
confhaul_device_backup_age_seconds_bucket{le="93600"} 3
confhaul_device_backup_age_seconds_bucket{le="172800"} 3
confhaul_device_backup_age_seconds_bucket{le="604800"} 3
confhaul_device_backup_age_seconds_bucket{le="2.592e+06"} 3
confhaul_device_backup_age_seconds_bucket{le="+Inf"} 4
confhaul_device_backup_age_seconds_sum 2.772e+06
confhaul_device_backup_age_seconds_count 4
confhaul_device_oldest_overdue_seconds 90
confhaul_devices{status="blocked"} 1
confhaul_devices{status="failing"} 0
confhaul_devices{status="new"} 2
confhaul_devices{status="ok"} 4
confhaul_devices{status="pending"} 0
confhaul_devices_blocked{kind="auth"} 1
confhaul_devices_blocked{kind="hostkey"} 0
confhaul_devices_never_backed_up 3
confhaul_devices_stale 2
confhaul_queue_tasks{site="oslo",state="active"} 2
confhaul_queue_tasks{site="oslo",state="pending"} 5
confhaul_site_held{site="rome"} 1
confhaul_site_without_worker{site="oslo"} 1
confhaul_site_without_worker{site="rome"} 1
`)
}

func TestFleetMetricsOfAnEmptyFleet(t *testing.T) {
	t.Parallel()
	counts, sum := ageBuckets(nil)
	if len(counts) != len(ageBounds) || sum != 0 {
		t.Errorf("got %v, %v", counts, sum)
	}
}

func TestStreamsMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	s := NewServer(&Ready{}, m)
	serve(t, s)
	m.ObserveStreams(func(context.Context) (Streams, bool) { return Streams{}, false })
	if got := ours(t, s); len(got) > 0 {
		t.Errorf("where nothing is known: got %v", got)
	}
	m.ObserveStreams(func(context.Context) (Streams, bool) { return Streams{Fill: 0.5, Pending: 9}, true })
	compare(t, ours(t, s), `
confhaul_stream_fill_ratio{stream="large"} 0
confhaul_stream_fill_ratio{stream="snapshots"} 0.5
`)
	m.Archived("new")
	m.MirrorFailed(true)
	m.ObserveStreams(func(context.Context) (Streams, bool) {
		return Streams{Fill: 0.5, LargeFill: 0.25, Archiver: true, Pending: 7, Events: 3, OldestAge: time.Minute}, true
	})
	compare(t, ours(t, s), `
confhaul_archiver_behind{stream="events"} 3
confhaul_archiver_behind{stream="snapshots"} 7
confhaul_archiver_mirror_failed 1
confhaul_archiver_oldest_unarchived_seconds 60
confhaul_archiver_snapshots_total{status="new"} 1
confhaul_stream_fill_ratio{stream="large"} 0.25
confhaul_stream_fill_ratio{stream="snapshots"} 0.5
`)
}
