package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/access"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/transport"
)

// readme follows the README's section Production in half an hour, on one machine and on ports that are free.
type readme struct {
	*testing.T
	home, bin   string
	redis, nats string // ports
	section     string
}

// role is one process: its user, and what stands behind confhaul.
type role struct {
	name, user string
	args       []string
}

func newReadme(t *testing.T, home string) *readme {
	t.Helper()
	port := func() string { return strings.TrimPrefix(freePort(t), "127.0.0.1:") }
	r := &readme{T: t, home: home, bin: t.TempDir(), redis: port(), nats: port()}
	program, err := filepath.Abs(os.Args[0])
	if err == nil {
		err = os.Symlink(program, filepath.Join(r.bin, "confhaul"))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.section = section(readText(t, "../../../README.md"), "Production in half an hour")
	for _, change := range [][2]string{{`hub\.example\.net`, "localhost"}, {`6379`, r.redis}, {`4222`, r.nats}, {`(?m)^ {3}`, ""}} {
		r.section = regexp.MustCompile(change[0]).ReplaceAllString(r.section, change[1])
	}
	return r
}

// block is the one that begins with a text.
func (r *readme) block(begin string) string {
	r.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```(?:sh|yaml|)\n(.*?)^```$").FindAllStringSubmatch(r.section, -1) {
		if strings.HasPrefix(m[1], begin) {
			return m[1]
		}
	}
	r.Fatalf("the README has no block that begins with %s", begin)
	return ""
}

func (r *readme) write(name, text string) {
	r.Helper()
	if err := os.WriteFile(filepath.Join(r.home, name), []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (r *readme) read(name string) string {
	r.Helper()
	return readText(r.T, filepath.Join(r.home, name))
}

// shell types a text in the directory and returns what is printed.
func (r *readme) shell(text string) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), eventTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", text)
	cmd.Dir = r.home
	cmd.Env = append(os.Environ(), beConfhaul+"=1", "HOME="+r.home, "PATH="+r.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("%s: %v\n%s", text, err, out)
	}
	return string(out)
}

func (r *readme) config() string { return filepath.Join(r.home, "confhaul.yaml") }

// setUp does steps 2 to 4. The interval is another one, Redis has an admin besides, and NATS runs in this process.
func (r *readme) setUp(settings string) *guarded {
	r.Helper()
	embeddedtest.RequireServer(r.T)
	need(r.T, "CONFHAUL_REQUIRE_OPENSSL", "openssl")
	r.shell(r.block("openssl"))
	r.write("confhaul.yaml", strings.Replace(r.block("inventory:"), "interval: 6h\n", settings, 1))
	r.shell(r.block("confhaul settings acl"))
	r.write("access/"+access.RedisFile, r.read("access/"+access.RedisFile)+"user admin on >admin ~* &* +@all\n")
	r.write("redis.conf", r.block("port 0"))
	r.write("nats-server.conf", strings.ReplaceAll(r.block("listen:"), "_file: ", "_file: "+r.home+"/")) // it is this process's directory otherwise

	redis := exec.Command("redis-server", "redis.conf")
	redis.Dir = r.home
	if err := redis.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = redis.Process.Kill(); _ = redis.Wait() })
	g := &guarded{
		T: r.T, dir: filepath.Join(r.home, "access"), redis: "localhost:" + r.redis,
		files: transport.TLS{CA: filepath.Join(r.home, "ca.pem"), Cert: filepath.Join(r.home, "host.pem"), Key: filepath.Join(r.home, "host.key")},
	}
	g.startNATS(filepath.Join(r.home, "nats-server.conf"))
	g.nats = "tls://localhost:" + r.nats
	eventually(r.T, "Redis", func() bool { return g.admin().Ping(r.Context()).Err() == nil })
	return g
}

// roles are the processes of step 5.
func (r *readme) roles() []role {
	r.Helper()
	var out []role
	for _, m := range regexp.MustCompile(`(?m)^as (\S+) confhaul (.*?) &`).FindAllStringSubmatch(r.block("as()"), -1) {
		name, same := m[1], 0
		for _, o := range out {
			if o.user == m[1] {
				same++
			}
		}
		name += strings.Repeat("'", same)
		out = append(out, role{name: name, user: m[1], args: slices.DeleteFunc(strings.Fields(m[2]), func(arg string) bool {
			return arg == "--config" || arg == "confhaul.yaml" || arg == "--listen" || strings.HasPrefix(arg, "0.0.0.0:")
		})})
	}
	if len(out) != 6 {
		r.Fatalf("the README has other processes: %v", out)
	}
	return out
}

// start starts a process with the logins that the README's function gives it. One of a site has a directory of its own with no
// more files than the README says.
func (r *readme) start(p role) *process {
	r.Helper()
	home := r.home
	if site, of := strings.CutPrefix(p.user, "worker-"); of {
		home = r.TempDir()
		r.shell("mkdir " + home + "/access && cp confhaul.yaml credentials.yaml ca.pem " + home + " && cp access/*-" + p.user + ".* " + home + "/access" +
			" && cp " + site + ".example.net.pem " + home + "/host.pem && cp " + site + ".example.net.key " + home + "/host.key")
	}
	function, _, _ := strings.Cut(r.block("as()"), "\n}\n")
	var vars []string
	for line := range strings.Lines(r.shell(function + "\n}\nas " + p.user + " env")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.HasSuffix(name, "_FILE") || name == "CONFHAUL_CREDENTIALS" && value != "" {
			value = filepath.Join(home, value)
		}
		if strings.HasPrefix(name, "CONFHAUL_") {
			vars = append(vars, name+"="+value)
		}
	}
	return startProcess(r.T, vars, append(slices.Clone(p.args), "--config", filepath.Join(home, "confhaul.yaml"), "--listen", "0.0.0.0:0")...)
}
