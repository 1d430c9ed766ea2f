package deployments

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// example is the annotated settings file, which a test of pkg/settings keeps equal to the code.
func example(t *testing.T) map[string]any {
	t.Helper()
	var all map[string]any
	if err := yaml.UnmarshalStrict([]byte(read(t, "confhaul.yaml")), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// variables are the environment variables of all settings.
func variables(t *testing.T) []string {
	t.Helper()
	var out []string
	var walk func(prefix string, m map[string]any)
	walk = func(prefix string, m map[string]any) {
		for key, value := range m {
			name := prefix + "_" + strings.ToUpper(key)
			if below, ok := value.(map[string]any); ok {
				walk(name, below)
				continue
			}
			out = append(out, name)
		}
	}
	walk("CONFHAUL", example(t))
	return out
}

// grace is how long confhaul takes to stop.
func grace(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(example(t)["grace"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
