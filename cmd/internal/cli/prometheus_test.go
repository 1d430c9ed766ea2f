package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// prometheus is a real one, which scrapes processes of this test and evaluates the alert rules.
type prometheus struct {
	*testing.T
	url     string
	targets string // the file that says whom to scrape
	scraped map[string]string
}

const prometheusConfig = `global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: confhaul
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
`

// shortened are the alert rules with their durations divided, so that a test need not wait for a quarter of an hour: every
// for is 1 s, every window of 15 minutes 6 s, and the 900 seconds of the one rule that compares an age are 3. Expressions
// stay as they are otherwise.
func shortened(t *testing.T, rules string) string {
	t.Helper()
	rules = regexp.MustCompile(`for: \d+m\n`).ReplaceAllString(rules, "for: 1s\n")
	for _, r := range [][2]string{{"[15m]", "[6s]"}, {"_seconds) > 900\n", "_seconds) > 3\n"}} {
		if strings.Count(rules, r[0]) != 1 {
			t.Fatalf("alerts.yml has %q %d times: tell this test how to shorten it", r[0], strings.Count(rules, r[0]))
		}
		rules = strings.Replace(rules, r[0], r[1], 1)
	}
	return rules
}

// startPrometheus begins to scrape nobody; it ends with the test.
func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	needPrometheus(t, "prometheus")
	dir := t.TempDir()
	p := &prometheus{T: t, targets: filepath.Join(dir, "targets.json"), scraped: map[string]string{}}
	for name, text := range map[string]string{
		"prometheus.yml": prometheusConfig, "targets.json": "[]", "alerts.yml": shortened(t, readText(t, deployments+"prometheus/alerts.yml")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd, log := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--log.format=json"), &lockedBuffer{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus:\n%s", log)
		}
	})
	eventually(t, "prometheus to listen", func() bool {
		p.url = "http://" + logged(log.String(), "Listening on", "address")
		return p.url != "http://"
	})
	eventually(t, "prometheus to be ready", func() bool {
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// logged is an attribute of the first record with a message in a log of JSON lines, "" where there is none.
func logged(log, message, attribute string) string {
	for line := range strings.Lines(log) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
			value, _ := record[attribute].(string)
			return value
		}
	}
	return ""
}

// scrape has it scrape a process, in place of the one that had the name before.
func (p *prometheus) scrape(name string, of *process) {
	p.Helper()
	eventually(p.T, name+" to listen", func() bool {
		p.scraped[name] = logged(of.errOut.String(), "serving health and metrics", "address")
		return p.scraped[name] != ""
	})
	addresses := []string{}
	for _, a := range p.scraped {
		addresses = append(addresses, a)
	}
	text, err := json.Marshal([]map[string][]string{{"targets": addresses}})
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(p.targets+".new", text, 0o600); err != nil {
		p.Fatal(err)
	}
	if err := os.Rename(p.targets+".new", p.targets); err != nil {
		p.Fatal(err)
	}
}

// get asks the HTTP interface and decodes the data of its answer.
func (p *prometheus) get(path string, data any) {
	p.Helper()
	resp, err := http.Get(p.url + path)
	if err != nil {
		p.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		p.Fatalf("%s: %v %s", path, err, body)
	}
}

// query is the number of series that an expression gives now.
func (p *prometheus) query(expr string) int {
	p.Helper()
	var data struct{ Result []any }
	p.get("/api/v1/query?query="+url.QueryEscape(expr), &data)
	return len(data.Result)
}

// firing are the names of the alerts that fire now, with the site where they have one.
func (p *prometheus) firing() []string {
	p.Helper()
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	p.get("/api/v1/alerts", &data)
	out := []string{}
	for _, a := range data.Alerts {
		if a.State == "firing" {
			out = append(out, strings.TrimSpace(a.Labels["alertname"]+" "+a.Labels["site"]))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// await waits until these alerts fire, and no others.
func (p *prometheus) await(when string, want ...string) {
	p.Helper()
	slices.Sort(want)
	began, last := time.Now(), []string{}
	defer func() {
		if p.Failed() {
			p.Logf("%s: firing %q, want %q", when, last, want)
		}
	}()
	eventually(p.T, when, func() bool {
		last = p.firing()
		return slices.Equal(last, want)
	})
	p.Logf("%s: %v after %s", when, want, time.Since(began).Round(100*time.Millisecond))
}

// otherClock stands between a process and its Redis and answers TIME with another time; it can also cut.
type otherClock struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup
	ahead    atomic.Int64 // seconds

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil while it is cut
}

// timeCommand is TIME as go-redis sends it: alone on a connection, on which no other answer is outstanding.
var timeCommand = []byte("*1\r\n$4\r\ntime\r\n")

func newOtherClock(t *testing.T, redis string) (c *otherClock, via string) {
	t.Helper()
	u, err := url.Parse(redis)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c = &otherClock{target: u.Host, listener: l, conns: map[net.Conn]struct{}{}}
	c.wg.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.cut()
		c.wg.Wait()
	})
	u.Host = l.Addr().String()
	return c, u.String()
}

func (c *otherClock) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.target)
		if err != nil || !c.keep(client, server) {
			_ = client.Close()
			continue
		}
		c.wg.Go(func() { c.forward(client, server, client) })
		c.wg.Go(func() { c.forward(server, client, nil) })
	}
}

func (c *otherClock) keep(client, server net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		_ = server.Close()
		return false
	}
	c.conns[client], c.conns[server] = struct{}{}, struct{}{}
	return true
}

// forward moves bytes until one side ends; back, where not nil, gets the answers that it makes itself.
func (c *otherClock) forward(from, to, back net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if back != nil && bytes.Equal(b[:n], timeCommand) {
			seconds := fmt.Sprint(time.Now().Unix() + c.ahead.Load())
			_, err = fmt.Fprintf(back, "*2\r\n$%d\r\n%s\r\n$1\r\n0\r\n", len(seconds), seconds)
		} else if n > 0 {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			break
		}
	}
	_, _ = from.Close(), to.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, from)
}

// cut ends all connections and takes no new ones until heal.
func (c *otherClock) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *otherClock) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = map[net.Conn]struct{}{}
}

// TestShortened: the rules that the test of the real thing evaluates are those that ship, but for durations.
func TestShortened(t *testing.T) {
	t.Parallel()
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal([]byte(shortened(t, readText(t, deployments+"prometheus/alerts.yml"))), &file); err != nil {
		t.Fatal(err)
	}
	digits := regexp.MustCompile(`\d+`)
	for i, r := range alertRules(t) {
		if short := file.Groups[0].Rules[i]; short.For != "1s" || short.Alert != r.Alert ||
			len(digits.ReplaceAllString(short.Expr, "")) != len(digits.ReplaceAllString(r.Expr, "")) {
			t.Errorf("%s is %+v", r.Alert, short)
		}
	}
}
