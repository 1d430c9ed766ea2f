package cli

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const deployments = "../../../deployments/"

// alertRule is what these tests look at of a rule.
type alertRule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alertRules(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string      `yaml:"name"`
			Rules []alertRule `yaml:"rules"`
		} `yaml:"groups"`
	}
	dec := yaml.NewDecoder(strings.NewReader(readText(t, deployments+"prometheus/alerts.yml")))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []alertRule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("alerts.yml has no rules")
	}
	return all
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what stands under a heading of the runbook, "" where there is none.
func section(runbook, heading string) string {
	_, rest, _ := strings.Cut(runbook, "\n## "+heading+"\n\n")
	text, _, _ := strings.Cut(rest, "\n## ")
	return text
}

// TestRunbook holds runbook and alerts against each other: every alert has an entry that begins with a command.
func TestRunbook(t *testing.T) {
	t.Parallel()
	runbook, headings := readText(t, deployments+"docs/runbook.md"), []string{}
	for line := range strings.Lines(runbook) {
		if h, ok := strings.CutPrefix(line, "## "); ok {
			headings = append(headings, strings.TrimSpace(h))
		}
	}
	for _, r := range alertRules(t) {
		if want := "deployments/docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if severity := r.Labels["severity"]; severity != "warning" && severity != "critical" {
			t.Errorf("%s: severity %q", r.Alert, severity)
		}
		if r.For == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks for, summary or description", r.Alert)
		}
		if !strings.HasPrefix(section(runbook, r.Alert), "```sh\nconfhaul ") { // that there is such a command, the test of all pages sees to
			t.Errorf("%s: its entry in the runbook does not begin with a command", r.Alert)
		}
		headings = slices.DeleteFunc(headings, func(h string) bool { return h == r.Alert })
	}
	if len(headings) > 0 {
		t.Errorf("the runbook has entries for alerts that there are not: %v", headings)
	}
}

// documented are the metrics of metrics.md, which the tests of pkg/telemetry hold against the registry.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(confhaul_\\w+)` \\| (\\w+)").FindAllStringSubmatch(readText(t, deployments+"docs/metrics.md"), -1) {
		names[found[1]] = true
		if found[2] == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[found[1]+suffix] = true
			}
		}
	}
	return names
}

// checkMetrics says whether an expression names documented metrics alone, and some.
func checkMetrics(t *testing.T, where, expr string, known map[string]bool) {
	t.Helper()
	for _, name := range regexp.MustCompile(`confhaul_\w+`).FindAllString(expr, -1) {
		if !known[name] {
			t.Errorf("%s: %s is no metric of confhaul", where, name)
		}
	}
}

func TestAlertsNameMetrics(t *testing.T) {
	t.Parallel()
	known := documented(t)
	for _, r := range alertRules(t) {
		if !strings.Contains(r.Expr, "confhaul_") {
			t.Errorf("%s: %s names no metric", r.Alert, r.Expr)
		}
		checkMetrics(t, r.Alert, r.Expr, known)
	}
}

// requirePrometheus set to 1 makes a missing prometheus or promtool a failure.
const requirePrometheus = "CONFHAUL_REQUIRE_PROMETHEUS"

func needPrometheus(t *testing.T, program string) {
	t.Helper()
	need(t, requirePrometheus, program)
}

// need skips the test where a program is not on PATH, and fails it there where the variable is 1.
func need(t *testing.T, variable, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv(variable) == "1" {
		t.Fatalf("%s is not on PATH and %s=1 is set", program, variable)
	}
	t.Skip(program + " is not on PATH")
}

// TestAlertRules has promtool check the rules and run their tests, of which every alert has one.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	tests := readText(t, deployments+"prometheus/alerts_test.yml")
	for _, r := range alertRules(t) {
		if !strings.Contains(tests, "  - name: "+r.Alert+"\n") {
			t.Errorf("%s has no test in alerts_test.yml", r.Alert)
		}
	}
	needPrometheus(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = deployments + "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
