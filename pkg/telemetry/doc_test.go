package telemetry

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/confhaul/confhaul/pkg/backup"
)

const (
	metricsDoc = "../../deployments/docs/metrics.md"
	// updateVariable set to 1 makes TestMetricsDoc write the table instead of holding it against the registry.
	updateVariable = "CONFHAUL_UPDATE_DOCS"
)

var described = regexp.MustCompile(`^Desc\{fqName: "(\w+)", .*variableLabels: \{(.*)\}\}$`)

// describedMetrics are the names and labels of all that the registry could show of ours.
func describedMetrics(t *testing.T, m *Metrics) map[string]string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(descs)
		close(descs)
	}()
	out := map[string]string{}
	for d := range descs {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("%s is not understood", d)
		}
		if strings.HasPrefix(found[1], "confhaul_") {
			out[found[1]] = strings.ReplaceAll(found[2], ",", ", ")
		}
	}
	return out
}

// TestMetricsDoc holds the table of the documentation against the registry.
func TestMetricsDoc(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	NewServer(NewReady("redis"), m)
	m.BackupDone("a", backup.ResultChanged, "")
	m.StageDone("dial", time.Second)
	m.SessionOpened("a")
	m.Archived("new")
	m.MirrorFailed(false)
	m.LoginDone("good")
	m.ClockSkew(0)
	m.InventoryInForce(true)
	m.ObserveFleet(func(context.Context) Fleet {
		one := []string{"a"}
		return Fleet{PausedCredentials: one, SitesWithoutWorker: one, HeldSites: one, Tasks: map[string]map[string]int{"a": {"pending": 1}}}
	})
	m.ObserveStreams(func(context.Context) (Streams, bool) { return Streams{Archiver: true}, true })
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels, rows := describedMetrics(t, m), []string{}
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "confhaul_") {
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), labels[name], f.GetHelp()))
			delete(labels, name)
		}
	}
	for name := range labels {
		t.Errorf("%s is described and never shown: have this test tell of it", name)
	}
	slices.Sort(rows)

	text, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	const rule = "|---|---|---|---|\n"
	head, table, ok := strings.Cut(string(text), rule)
	if !ok {
		t.Fatalf("%s has no table", metricsDoc)
	}
	table, tail, _ := strings.Cut(table, "\n\n")
	want := strings.Join(rows, "")
	if os.Getenv(updateVariable) == "1" {
		if err := os.WriteFile(metricsDoc, []byte(head+rule+want+"\n"+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := strings.TrimSuffix(table, "\n") + "\n"; got != want {
		t.Errorf("%s is not what the registry has; %s=1 go test ./pkg/telemetry writes it. It has\n%s\nand should have\n%s", metricsDoc, updateVariable, got, want)
	}
}
