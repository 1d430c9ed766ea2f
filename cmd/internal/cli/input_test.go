package cli

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

func itoa(n int) string { return strconv.Itoa(n) }

func contains(s, part string) bool { return strings.Contains(s, part) }

// TestBadInput has one mistake per row: exit 2 and one line that says where it is.
func TestBadInput(t *testing.T) {
	t.Parallel()
	const (
		credentials = "version_key: 0123456789abcdef0123456789abcdef\ncredentials:\n  fleet: {username: u, password: p}\n"
		inventory   = "devices:\n- {id: a, address: 192.0.2.1, credential: fleet}\n"
		config      = "inventory: inventory.yaml\ncredentials: credentials.yaml\n"
	)
	for name, tc := range map[string]struct {
		file, text string
		want       []string
	}{
		"a typo in the settings":     {"confhaul.yaml", config + "intervall: 6h\n", []string{"confhaul.yaml:3", "intervall"}},
		"empty settings":             {"confhaul.yaml", "", []string{"confhaul.yaml", "empty"}},
		"settings that are not YAML": {"confhaul.yaml", "a: [\n", []string{"confhaul.yaml"}},
		"a bad duration":             {"confhaul.yaml", config + "interval: soon\n", []string{"confhaul.yaml:3", "interval"}},
		"an empty inventory":         {"inventory.yaml", "", []string{"inventory.yaml", "empty"}},
		"an inventory that is not":   {"inventory.yaml", "a: [\n", []string{"inventory.yaml"}},
		"a typo in a device":         {"inventory.yaml", "devices:\n- {id: a, adress: 192.0.2.1}\n", []string{"inventory.yaml:2", "adress"}},
		"a duplicate device":         {"inventory.yaml", inventory + "- {id: a, address: 192.0.2.2, credential: fleet}\n", []string{"inventory.yaml:3", "id"}},
		"a duplicate address":        {"inventory.yaml", inventory + "- {id: b, address: 192.0.2.1, credential: fleet}\n", []string{"inventory.yaml:3", "address"}},
		"port 70000":                 {"inventory.yaml", "devices:\n- {id: a, address: 192.0.2.1, port: 70000, credential: fleet}\n", []string{"inventory.yaml:2", "port", "70000"}},
		"no credential":              {"inventory.yaml", "devices:\n- {id: a, address: 192.0.2.1}\n", []string{"inventory.yaml:2", "credential"}},
		"an unknown credential":      {"inventory.yaml", "devices:\n- {id: a, address: 192.0.2.1, credential: other}\n", []string{"inventory.yaml:2", "credential", "other"}},
		"empty credentials":          {"credentials.yaml", "", []string{"credentials.yaml", "empty"}},
		"a typo in the credentials":  {"credentials.yaml", strings.ReplaceAll(credentials, "username", "user"), []string{"credentials.yaml:3", "user"}},
		"no version key":             {"credentials.yaml", "credentials:\n  fleet: {username: u, password: p}\n", []string{"credentials.yaml", "version_key"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := map[string]string{"confhaul.yaml": config, "inventory.yaml": inventory, "credentials.yaml": credentials}
			files[tc.file] = tc.text
			for f, text := range files {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, "confhaul.yaml")
			for _, command := range [][]string{{"settings", "check"}, {"up", "--data", filepath.Join(dir, "data")}} {
				o := runHere(t, append(command, "--config", path)...)
				if o.code != exitUsage || strings.Count(o.errOut, "\n") != 1 || o.out != "" {
					t.Errorf("%v: exit %d, output %q, errors %q", command, o.code, o.out, o.errOut)
				}
				for _, w := range tc.want {
					if !contains(o.errOut, w) {
						t.Errorf("%v: %q does not name %q", command, o.errOut, w)
					}
				}
			}
		})
	}
}

func TestMissingAndReadableFiles(t *testing.T) {
	t.Parallel()
	if o := runHere(t, "settings", "check", "--config", "/nonexistent/confhaul.yaml"); o.code != exitUsage || !contains(o.errOut, "/nonexistent/confhaul.yaml") {
		t.Errorf("exit %d: %s", o.code, o.errOut)
	}
	_, config := fleetFiles(t, routersim.Options{Devices: 1}, "")
	credentials := filepath.Join(filepath.Dir(config), "credentials.yaml")
	if err := os.Chmod(credentials, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := runHere(t, "settings", "check", "--config", config); o.code != exitUsage || !contains(o.errOut, "chmod 600") {
		t.Errorf("exit %d: %s", o.code, o.errOut)
	}
}

// TestUnreachable names the address within the time allowed.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for _, address := range []string{"127.0.0.1:1", l.Addr().String()} {
		started := time.Now()
		o := runHere(t, "status", "--redis", address, "--nats", "127.0.0.1:1")
		if o.code != exitUnreachable || !contains(o.errOut, address) || strings.Count(o.errOut, "\n") != 1 || time.Since(started) > 11*time.Second {
			t.Errorf("redis at %s: exit %d after %s: %s", address, o.code, time.Since(started), o.errOut)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"nonsense"}, {"backup"}, {"backup", "--all", "x"}, {"status", "--nonsense"}, {"status", "extra"}, {"-o", "xml", "version"},
		{"sim", "--devices", "2"}, {"demo", "--devices", "0"}, {"worker"}, {"up"}, {"inventory", "check"}, {"try"},
		{"status", "--kind", "typo"}, {"stale", "--older-than", "soon"}, {"stale", "--older-than", "0h"}, {"log"}, {"diff", "a", "@1", "@2", "@3"},
		{"archive", "nonsense"}, {"show", "a", "@1", "@2"}, {"dashboard", "--listen", "0.0.0.0:0"}, {"dashboard", "--listen", ":9470"},
		{"dashboard", "token"}, {"dashboard", "token", "anna b"}, {"dashboard", "token", "anna", "--role", "admin"},
	} {
		if o := runHere(t, args...); o.code != exitUsage || o.errOut == "" {
			t.Errorf("%v: exit %d %q", args, o.code, o.errOut)
		}
	}
	for _, args := range [][]string{{"version"}, {"--help"}, {"completion", "bash"}, {"version", "-o", "json"}} {
		if o := runHere(t, args...); o.code != 0 || o.out == "" {
			t.Errorf("%v: exit %d %q", args, o.code, o.errOut)
		}
	}
}

// TestFilesOfOthers: sim and demo write over their own files only.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"demo", "--devices", "1", "--for", "1s", "--data"}, {"sim", "--devices", "1", "--out"}} {
		dir := t.TempDir()
		mine := filepath.Join(dir, "credentials.yaml")
		if err := os.WriteFile(mine, []byte("version_key: mine\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := runHere(t, append(command, dir)...); o.code != exitUsage || !contains(o.errOut, mine) {
			t.Errorf("%v: exit %d: %s", command, o.code, o.errOut)
		}
		if b, err := os.ReadFile(mine); err != nil || string(b) != "version_key: mine\n" {
			t.Errorf("%v: the file is now %q (%v)", command, b, err)
		}
	}
}

// TestTarget: which Redis a command looks for.
func TestTarget(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	unlock, err := embedded.Lock(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	run := embedded.Run{PID: os.Getpid(), Redis: secret.NewURL("redis://:t@127.0.0.1:1111/0"), NATS: secret.NewURL("nats://t@127.0.0.1:2222")}
	if err := embedded.WriteRun(data, run); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "confhaul.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const usual, other, running = "redis://127.0.0.1:6379/0", "redis://192.0.2.1:6379", "redis://:t@127.0.0.1:1111/0"
	for name, tc := range map[string]struct {
		e    *env
		want string
	}{
		"nothing is said":             {&env{}, usual},
		"--data":                      {&env{data: data, dataGiven: true}, running},
		"--data beside an address":    {&env{data: data, dataGiven: true, redis: "192.0.2.1:6379"}, running},
		"a file that names the data":  {&env{config: file("data: " + data + "\n")}, running},
		"a file that names a Redis":   {&env{config: file("data: " + data + "\nredis: 192.0.2.1:6379\n")}, other},
		"a file that names neither":   {&env{config: file("interval: 1h\n")}, usual},
		"a flag beside the same data": {&env{config: file("data: " + data + "\n"), redis: "192.0.2.1:6379"}, other},
	} {
		tc.e.getenv = func(string) string { return "" }
		s, err := tc.e.target()
		if err != nil || s.Redis.Reveal() != tc.want {
			t.Errorf("%s: %s (%v), want %s", name, s.Redis.Reveal(), err, tc.want)
		}
	}
}

func TestTry(t *testing.T) {
	t.Parallel()
	fleet, _ := fleetFiles(t, routersim.Options{Devices: 3, Seed: 2}, "")
	router := fleet.Routers()[1]
	address := net.JoinHostPort(router.Address(), itoa(router.Port()))
	raw := filepath.Join(t.TempDir(), "export.rsc")
	right := map[string]string{"CONFHAUL_PASSWORD": "pw-of-the-test"}
	o := runWith(t, right, "try", address, "--user", simUser, "--raw", raw, "-o", "json")
	if r := decode[tryReport](t, o); o.code != 0 || !r.Complete || r.Version != router.Version() || r.Identity != router.Identity() || !contains(r.HostKey, router.HostKeyFingerprint()) {
		t.Errorf("exit %d: %s %s", o.code, o.out, o.errOut)
	}
	text, err := os.ReadFile(raw)
	if err != nil || withoutMoment(string(text)) != withoutMoment(router.Export()) {
		t.Errorf("the kept text is not what the router printed (%v)", err)
	}
	if info, err := os.Stat(raw); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kept text has mode %v (%v)", info.Mode(), err)
	}
	o = runWith(t, map[string]string{"CONFHAUL_PASSWORD": "wrong"}, "try", address, "--user", simUser)
	if o.code != exitBlocked || !contains(o.out, "auth") || contains(o.out+o.errOut, "wrong\n") {
		t.Errorf("wrong password: exit %d: %s %s", o.code, o.out, o.errOut)
	}
	if err := router.SetFault(routersim.CutMidExport); err != nil {
		t.Fatal(err)
	}
	if o := runWith(t, right, "try", address, "--user", simUser); o.code != exitIncomplete {
		t.Errorf("cut export: exit %d: %s %s", o.code, o.out, o.errOut)
	}
	if err := router.SetDown(true); err != nil {
		t.Fatal(err)
	}
	if o := runWith(t, right, "try", address, "--user", simUser); o.code != exitFailed || !contains(o.out, "unreachable") {
		t.Errorf("router down: exit %d: %s %s", o.code, o.out, o.errOut)
	}
}
