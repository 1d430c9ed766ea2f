package cli

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/routersim"
)

const composeDir = "../../../deployments/compose"

// composed is the Compose file's set-up without containers: each service has the files that are mounted into it, under their
// paths on this machine, and nothing else.
type composed struct {
	*testing.T
	services map[string]composeService
	places   map[string]string // what is mounted, and where it stands here
	servers  map[string]string // host:port of a service
	refused  lockedBuffer      // what NATS says of it
}

type composeService struct {
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []composeVolume   `yaml:"volumes"`
	HealthCheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

// composeVolume is written as SOURCE:TARGET:MODE, too.
type composeVolume struct {
	Source, Target string
	Volume         struct{ Subpath string }
}

func (v *composeVolume) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		parts := strings.SplitN(n.Value, ":", 3)
		v.Source, v.Target = parts[0], parts[1]
		return nil
	}
	type plain composeVolume
	return n.Decode((*plain)(v))
}

func newComposed(t *testing.T, fleet string) *composed {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeDir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]composeService `yaml:"services"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	c := &composed{T: t, services: file.Services, servers: map[string]string{}, places: map[string]string{
		"./fleet": fleet, "./secrets": fleet, "./secrets/tokens.yaml": filepath.Join(fleet, "tokens.yaml"),
		"access": t.TempDir(), "archive": t.TempDir(), "redis": t.TempDir(), "nats": t.TempDir(),
		"./redis.conf": filepath.Join(composeDir, "redis.conf"), "./nats.conf": filepath.Join(composeDir, "nats.conf"),
	}}
	if o := runHere(t, c.here("access", c.services["access"].Command...)...); o.code != 0 {
		t.Fatalf("access: exit %d: %s", o.code, o.errOut)
	}
	c.startRedis()
	c.startNATS()
	return c
}

// here are texts of a service with the paths of what is mounted into it as they are on this machine, and with the addresses of
// other services.
func (c *composed) here(service string, texts ...string) []string {
	c.Helper()
	var pairs []string
	for _, v := range c.services[service].Volumes {
		place, known := c.places[v.Source]
		if !known {
			c.Fatalf("%s: what is %s?", service, v.Source)
		}
		pairs = append(pairs, v.Target, filepath.Join(place, v.Volume.Subpath))
	}
	for name, address := range c.servers {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			c.Fatal(err)
		}
		pairs = append(pairs, "@"+name+":6379", "@127.0.0.1:"+port, "//"+name+":4222", "//127.0.0.1:"+port)
	}
	replace := strings.NewReplacer(pairs...)
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = replace.Replace(text)
	}
	return out
}

// settings reads the file that a server's command names, as the server in its container does.
func (c *composed) settings(service string) string {
	c.Helper()
	command := c.here(service, c.services[service].Command...)
	text, err := os.ReadFile(command[len(command)-1])
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

func (c *composed) startRedis() {
	c.Helper()
	text := c.here("redis", c.settings("redis"))[0]
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "bind ") // this machine's network has no part in it
	})
	c.servers["redis"] = embeddedtest.RedisWith(c.T, nil, lines...)
}

func (c *composed) startNATS() {
	c.Helper()
	dir := c.TempDir()
	for _, v := range c.services["nats"].Volumes { // beside each other, as in the container
		from := filepath.Join(c.places[v.Source], v.Volume.Subpath)
		if text, err := os.ReadFile(from); err == nil {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(v.Target)), text, 0o600); err != nil {
				c.Fatal(err)
			}
		}
	}
	command := c.services["nats"].Command
	s := natsiotest.StartServer(c.T, func(o *server.Options) {
		parsed, err := server.ProcessConfigFile(filepath.Join(dir, filepath.Base(command[len(command)-1])))
		if err != nil {
			c.Fatal(err)
		}
		if !parsed.JetStream || !parsed.SyncAlways {
			c.Error("nats.conf: no JetStream that writes at once")
		}
		parsed.StoreDir, parsed.Host, parsed.Port, parsed.HTTPPort = c.places["nats"], o.Host, o.Port, 0
		parsed.NoSigs, parsed.NoLog = true, true
		*o = *parsed
	})
	s.Srv.SetLogger(refusalLog{w: &c.refused}, false, false)
	c.servers["nats"] = s.Address()
}

// variables are those of a service.
func (c *composed) variables(service, listen string) map[string]string {
	c.Helper()
	out := map[string]string{}
	for name, value := range c.services[service].Environment {
		out[name] = c.here(service, value)[0]
	}
	if _, there := out["CONFHAUL_LISTEN"]; !there {
		c.Errorf("%s listens nowhere", service)
	}
	out["CONFHAUL_LISTEN"] = listen
	return out
}

// healthy runs the health check of Redis.
func (c *composed) healthy() {
	c.Helper()
	_, port, err := net.SplitHostPort(c.servers["redis"])
	if err != nil {
		c.Fatal(err)
	}
	test := c.services["redis"].HealthCheck.Test
	script := strings.ReplaceAll(test[len(test)-1], "redis-cli", "redis-cli -p "+port)
	if out, err := exec.CommandContext(c.Context(), "sh", "-c", script).CombinedOutput(); test[0] != "CMD-SHELL" || err != nil {
		c.Errorf("%v: %v %s", test, err, out)
	}
}

var refusedWords = regexp.MustCompile(`NOPERM|ermission|"level":"ERROR"`)

// TestComposeServicesAreLetIn starts Redis and NATS with the settings of the Compose file and the logins that its service access
// makes, and each role with its service's command, variables and files: all get ready, a backup that is asked for as a person
// does is done, and nobody is refused anything.
func TestComposeServicesAreLetIn(t *testing.T) {
	t.Parallel()
	const devices = 6
	_, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 9, Sites: []string{"riga", "oslo"}}, "")
	dir := filepath.Dir(config)
	tokens := "tokens:\n  - {name: demo, role: operator, sha256: 2a97516c354b68848cdbd8f54a226a0a55b21ed138e207ad6c5cbb9c00aa5aea}\n"
	if err := os.WriteFile(filepath.Join(dir, "tokens.yaml"), []byte(tokens), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newComposed(t, dir)
	c.healthy()
	processes := map[string]*process{}
	var ready []func() bool
	for _, name := range []string{"worker", "dashboard", "archiver", "scheduler"} {
		vars := c.variables(name, freePort(t))
		var assigned []string
		for k, v := range vars {
			assigned = append(assigned, k+"="+v)
		}
		processes[name] = startProcess(t, assigned, c.here(name, c.services[name].Command...)...)
		ready = append(ready, func() bool { return runWith(t, vars, "ready").code == 0 })
	}
	for _, r := range ready {
		eventually(t, "every service to be ready", r)
	}
	cli := func(args ...string) outcome { return runWith(t, c.variables("cli", freePort(t)), args...) }
	o := cli("backup", "--all", "--wait", "-o", "json")
	if s := decode[backupSummary](t, o); o.code != 0 || s.Succeeded != devices {
		t.Errorf("exit %d: %+v %s", o.code, s, o.errOut)
	}
	if o := cli(c.services["cli"].Command...); o.code != 0 {
		t.Errorf("%v: exit %d: %s", c.services["cli"].Command, o.code, o.errOut)
	}
	s := &shelf{T: t, dir: filepath.Join(c.places["archive"], "archive")}
	eventually(t, "the archive", func() bool { return s.versions() == devices })
	for name, p := range processes {
		if line := refusedWords.FindString(p.errOut.String()); line != "" {
			t.Errorf("%s: %s in\n%s", name, line, p.errOut)
		}
	}
	if said := c.refused.String(); said != "" {
		t.Errorf("nats refuses:\n%s", said)
	}
	for _, name := range slices.Sorted(maps.Keys(processes)) {
		if code := processes[name].stop(t); code != 0 {
			t.Errorf("%s: exit %d", name, code)
		}
	}
}
