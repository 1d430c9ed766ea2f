package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
)

// TestDashboardToken follows what the command prints: the line into the file, the token into a request to a dashboard that
// listens on every address.
func TestDashboardToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := runHere(t, "dashboard", "token", "anna", "--role", "operator")
	token := regexp.MustCompile(`(?m)^  (confhaul_\S{43})$`).FindStringSubmatch(made.out)
	line := regexp.MustCompile(`(?m)^  - \{name: anna, role: operator, sha256: \w{64}\}$`).FindString(made.out)
	if made.code != 0 || token == nil || line == "" || made.errOut != "" {
		t.Fatalf("exit %d: %s %s", made.code, made.out, made.errOut)
	}
	if other := decode[newToken](t, runHere(t, "dashboard", "token", "bert", "-o", "json")); other.Role != "viewer" || other.Token == token[1] || len(other.SHA256) != 64 {
		t.Errorf("as JSON: %+v", other)
	}
	files := map[string]string{"tokens.yaml": "tokens:\n" + line + "\n", "confhaul.yaml": "listen: 0.0.0.0:0\ndashboard: {tokens: tokens.yaml}\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "confhaul.yaml")
	if o := runHere(t, "settings", "check", "--config", config); o.code != 0 || !contains(o.out, "dashboard ok: 1 token\n") {
		t.Errorf("settings check: exit %d, %s %s", o.code, o.out, o.errOut)
	}
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	vars := []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats}
	startProcess(t, vars, "scheduler", "--listen", "127.0.0.1:0") // makes what the dashboard opens
	p := startProcess(t, vars, "dashboard", "--config", config)
	ready := regexp.MustCompile(`"dashboard ready".*"url":"(http://[^"/]+)`)
	eventually(t, "the dashboard", func() bool { return ready.MatchString(p.errOut.String()) })
	address := strings.Replace(ready.FindStringSubmatch(p.errOut.String())[1], "[::]", "127.0.0.1", 1)
	if !strings.Contains(p.errOut.String(), "travel in clear") {
		t.Error("nothing is said of tokens in clear")
	}
	for header, want := range map[string]int{"": http.StatusUnauthorized, "Bearer " + token[1]: http.StatusOK} {
		if code := getWith(t, address+"/queues/api/queues", header); code != want {
			t.Errorf("with %q: %d, want %d", header, code, want)
		}
	}
	if strings.Contains(p.errOut.String(), token[1]) {
		t.Error("the token stands in the log")
	}
	if err := os.Chmod(filepath.Join(dir, "tokens.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"dashboard", "settings"} {
		args := []string{command, "--config", config}
		if command == "settings" {
			args = []string{command, "check", "--config", config}
		}
		if o := runHere(t, args...); o.code != exitUsage || !contains(o.errOut, "chmod 600 "+filepath.Join(dir, "tokens.yaml")) {
			t.Errorf("%s with a world-readable token file: exit %d, %s", command, o.code, o.errOut)
		}
	}
}

func getWith(t *testing.T, url, authorization string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
