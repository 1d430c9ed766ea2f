package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/transport/transporttest"
)

// TestListenTLS logs in over HTTPS: the cookie never travels over HTTP, and nothing is said of tokens in clear.
func TestListenTLS(t *testing.T) {
	t.Parallel()
	ca, dir := transporttest.NewAuthority(t), t.TempDir()
	pair := ca.Issue(t, "dashboard")
	token, sum := dashboard.NewToken()
	config := filepath.Join(dir, "confhaul.yaml")
	for name, text := range map[string]string{
		"tokens.yaml":   "tokens:\n- {name: anna, role: viewer, sha256: " + sum + "}\n",
		"confhaul.yaml": "listen: 0.0.0.0:0\nlisten_tls: {cert: " + pair.Cert + ", key: " + pair.Key + "}\ndashboard: {tokens: tokens.yaml}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	vars := []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats}
	startProcess(t, vars, "scheduler", "--listen", "127.0.0.1:0") // makes what the dashboard opens
	p := startProcess(t, vars, "dashboard", "--config", config)
	ready := regexp.MustCompile(`"dashboard ready".*"url":"https://[^"]*:(\d+)/"`)
	eventually(t, "the dashboard", func() bool { return ready.MatchString(p.errOut.String()) })
	address := "127.0.0.1:" + ready.FindStringSubmatch(p.errOut.String())[1]

	pem, err := os.ReadFile(ca.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/login", strings.NewReader(url.Values{"token": {token.Reveal()}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := (&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if c := resp.Cookies(); resp.StatusCode != http.StatusSeeOther || len(c) != 1 || !c[0].Secure {
		t.Errorf("log in: %d, %v", resp.StatusCode, c)
	}
	if strings.Contains(p.errOut.String(), "in clear") {
		t.Errorf("told of tokens in clear:\n%s", p.errOut)
	}
	eventually(t, "the process to be ready", func() bool { return runHere(t, "ready", "--config", config, "--listen", address).code == exitOK })

	if err := os.Chmod(pair.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"settings", "check"}, {"scheduler"}} {
		if o := runHere(t, append(args, "--config", config)...); o.code != exitUsage || !contains(o.errOut, "chmod 600 "+pair.Key) {
			t.Errorf("%v with a key that others can read: exit %d, %s", args, o.code, o.errOut)
		}
	}
}
