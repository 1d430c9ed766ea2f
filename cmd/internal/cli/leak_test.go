package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// leakHouse is a whole confhaul in processes, every one of whose routers has a login of its own.
type leakHouse struct {
	*testing.T
	fleet   *routersim.Fleet
	dir     string // of the settings
	config  string
	redis   *embedded.Redis
	client  *redis.Client
	nats    *embedded.NATS
	natsDir string
	archive string
	monitor lockedBuffer // every command that Redis got

	secrets   map[string]string // name to value
	workerEnv []string
	good      []string // devices that can be backed up
	output    lockedBuffer
	processes map[string]*process
}

// The devices whose logins go wrong.
const (
	leakRefused  = "router-0011" // has another password
	leakBadKey   = "router-0012" // the file holds no key
	leakBadTool  = "router-0013" // the command prints the password everywhere and fails
	leakDevices  = 13
	leakVariable = "CONFHAUL_TEST_ROUTER_PASSWORD"
)

func newLeakHouse(t *testing.T) *leakHouse {
	t.Helper()
	h := &leakHouse{T: t, natsDir: t.TempDir(), secrets: map[string]string{}, processes: map[string]*process{}}
	h.fleet, h.config = fleetFiles(t, routersim.Options{Devices: leakDevices, Seed: 21, Sites: []string{"riga", "oslo"}}, askedOnly)
	h.dir = filepath.Dir(h.config)
	h.archive = filepath.Join(h.dir, "archive")
	h.redis = embeddedtest.Start(t, embeddedtest.Kind(t))
	h.nats = embeddedtest.NATS(t, embedded.NATSOptions{Dir: h.natsDir})
	o, err := redis.ParseURL(h.redis.URL().Reveal())
	h.check(err)
	h.client = redis.NewClient(o)
	t.Cleanup(func() { _ = h.client.Close() })
	h.watchRedis()
	h.secrets["the password of Redis"] = o.Password
	_, rest, _ := strings.Cut(h.nats.URL().Reveal(), "//")
	h.secrets["the token of NATS"], _, _ = strings.Cut(rest, "@")
	h.writeLogins()
	text, err := os.ReadFile(h.config)
	h.check(err)
	h.write("confhaul.yaml", string(text)+"redis: "+h.redis.URL().Reveal()+"\nnats: "+h.nats.URL().Reveal()+"\narchive: {dir: archive}\n")
	return h
}

func (h *leakHouse) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *leakHouse) write(name, text string) {
	h.Helper()
	h.check(os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600))
}

// watchRedis records what every client asks of Redis; miniredis cannot tell.
func (h *leakHouse) watchRedis() {
	h.Helper()
	if h.redis.Kind() != embedded.RedisServer {
		return
	}
	o := h.client.Options()
	conn, err := net.Dial("tcp", o.Addr)
	h.check(err)
	_, err = fmt.Fprintf(conn, "AUTH %s\r\nMONITOR\r\n", o.Password)
	h.check(err)
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(&h.monitor, conn) // until it is closed
		close(done)
	}()
	h.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
}

// writeLogins gives each router a password of its own, some of them with all that needs quoting somewhere, and writes
// inventory and credentials with one credential for each.
func (h *leakHouse) writeLogins() {
	h.Helper()
	devices := h.fleet.Devices("")
	credentials := map[string]map[string]any{}
	var inventory []map[string]any
	for i, r := range h.fleet.Routers() {
		password := rand.Text()
		if i%2 == 1 {
			password = fmt.Sprintf(`%s"\<%d>&/+%%3d é~`+"`$(x)", password, i)
		}
		h.secrets["the password of "+r.ID()] = password
		r.SetPassword(secret.New(password))
		name := "login-" + r.ID()
		c := map[string]any{"username": simUser}
		switch r.ID() {
		case "router-0007":
			h.write("seventh", password+"\n")
			c["password_file"] = "seventh"
		case "router-0008":
			h.write("eighth", password+"\n")
			c["password_command"] = []string{"cat", filepath.Join(h.dir, "eighth")}
		case "router-0009":
			h.workerEnv = []string{leakVariable + "=" + password}
			c["password_env"] = leakVariable
		case "router-0010":
			h.writeKey(r)
			c["private_key_file"] = "tenth"
		case leakBadKey:
			h.write("twelfth", "-----BEGIN OPENSSH PRIVATE KEY-----\n"+password+"\n")
			c["private_key_file"] = "twelfth"
		case leakBadTool:
			h.write("thirteenth", password+"\n")
			c["password_command"] = []string{"sh", "-c", `cat "$1" "$1" >&2; cat "$1"; exit 3`, "sh", filepath.Join(h.dir, "thirteenth")}
		default:
			c["password"] = password
		}
		if r.ID() == leakRefused {
			r.SetPassword(secret.New(rand.Text()))
		}
		credentials[name] = c
		inventory = append(inventory, map[string]any{
			"id": r.ID(), "address": devices[i].Address, "port": devices[i].Port, "site": devices[i].Site, "credential": name,
		})
		if r.ID() < leakRefused {
			h.good = append(h.good, r.ID())
		}
	}
	h.secrets["the version key"] = rand.Text()
	text, err := yaml.Marshal(map[string]any{"version_key": h.secrets["the version key"], "credentials": credentials})
	h.check(err)
	h.write("credentials.yaml", string(text))
	text, err = yaml.Marshal(map[string]any{"devices": inventory})
	h.check(err)
	h.write("inventory.yaml", string(text))
}

// writeKey lets a router's user in with a key; the secret is what stands in its file where no two keys are alike.
func (h *leakHouse) writeKey(r *routersim.Router) {
	h.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	h.check(err)
	key, err := ssh.NewPublicKey(public)
	h.check(err)
	h.check(r.AuthorizeKey(string(ssh.MarshalAuthorizedKey(key))))
	block, err := ssh.MarshalPrivateKey(private, "")
	h.check(err)
	text := string(pem.EncodeToMemory(block))
	h.write("tenth", text)
	lines := strings.Split(text, "\n")
	h.secrets["the key of "+r.ID()] = lines[4]
}

// start starts the whole of confhaul.
func (h *leakHouse) start() {
	h.Helper()
	for _, role := range []string{"scheduler", "worker", "archiver", "dashboard"} {
		var vars []string
		if role == "worker" {
			vars = h.workerEnv
		}
		h.processes[role] = startProcess(h.T, vars, role, "--config", h.config, "--listen", "127.0.0.1:0")
	}
}

// run runs a command and keeps what it prints.
func (h *leakHouse) run(args ...string) outcome {
	h.Helper()
	o := runHere(h.T, append(args, "--config", h.config)...)
	_, _ = h.output.Write([]byte(o.out + o.errOut))
	return o
}

// backUp has every router dialled, and the troubled ones found out.
func (h *leakHouse) backUp() {
	h.Helper()
	if o := h.run(append([]string{"backup", "--wait", "-o", "json"}, h.good...)...); o.code != exitOK {
		h.Fatalf("exit %d: %s %s", o.code, o.out, o.errOut)
	}
	h.run("backup", leakRefused, "--wait")
	h.run("backup", leakBadKey, leakBadTool)
	eventually(h.T, "the troubled logins to be found out", func() bool {
		reasons := h.run("status", "-o", "json").out
		return strings.Contains(reasons, "refused") && strings.Contains(reasons, "exit status 3") && strings.Contains(reasons, "private key")
	})
	h.check(h.fleet.Router(h.good[1]).SetFault(routersim.CutMidExport))
	if o := h.run("backup", h.good[1], "--wait"); o.code != exitIncomplete {
		h.Errorf("a cut export: exit %d: %s", o.code, o.errOut)
	}
	h.fleet.Router(h.good[0]).Change()
	h.run("backup", h.good[0], "--wait", "-o", "json")
	eventually(h.T, "the archive to have the change", func() bool { return strings.Contains(h.run("log", h.good[0], "-o", "json").out, `"version": 2`) })
}

// look searches everything.
func (h *leakHouse) look(s *leakSearch, places map[string][]byte) (found []string) {
	h.Helper()
	for _, where := range slices.Sorted(maps.Keys(places)) {
		for _, name := range s.in(places[where]) {
			found = append(found, where+": "+name)
		}
	}
	for _, dir := range []string{h.natsDir, h.archive, filepath.Join(h.dir, "exported")} {
		in, n := s.files(h.T, dir)
		if n == 0 {
			h.Errorf("%s has no files: the search proves nothing", dir)
		}
		found = append(found, in...)
	}
	return found
}

// TestNoLeaks backs up a fleet in which every router has a login of its own, lets some of them go wrong, and then looks for
// every login, and for the passwords of Redis and NATS, in everything that confhaul writes, sends, prints and serves.
func TestNoLeaks(t *testing.T) {
	t.Parallel()
	h := newLeakHouse(t)
	h.start()
	h.backUp()
	places := h.places()
	places["stacks of worker"] = h.crash("worker")
	for where, b := range places {
		if len(b) == 0 && !slices.Contains(h.mayBeEmpty(), where) {
			t.Errorf("%s is empty: the search proves nothing", where)
		}
	}
	s := newLeakSearch(h.secrets)
	for _, leak := range h.look(s, places) {
		t.Errorf("leak: %s", leak)
	}
	t.Logf("%d secrets in %d forms, %d places, %d bytes", len(h.secrets), len(s.needles), len(places), s.looked)
	h.plant(s)
}

// crash has a process print what every goroutine does, as a panic that nobody catches would.
func (h *leakHouse) crash(role string) []byte {
	h.Helper()
	p := h.processes[role]
	h.check(p.cmd.Process.Signal(syscall.SIGQUIT))
	_ = p.cmd.Wait() // its error is what was asked for
	delete(h.processes, role)
	if !strings.Contains(p.errOut.String(), "goroutine ") {
		h.Errorf("%s printed no stacks", role)
	}
	return []byte(p.errOut.String())
}

// mayBeEmpty lists places where nothing is, and no wonder.
func (h *leakHouse) mayBeEmpty() []string {
	out := []string{"stream OBJ_CONFIG_LARGE", "redis-server's environ"}
	if h.redis.Kind() != embedded.RedisServer {
		out = append(out, "commands of Redis")
	}
	return out
}

// plant hides a login in several places and wants each found: what gathers and searches them is not blind.
func (h *leakHouse) plant(s *leakSearch) {
	h.Helper()
	password := h.secrets["the password of "+leakRefused]
	ctx, cancel := context.WithTimeout(h.Context(), eventTimeout)
	defer cancel()
	h.check(h.client.HSet(ctx, "asynq:planted", "msg", "x"+password).Err())
	nc, err := nats.Connect(h.nats.URL().Reveal())
	h.check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	h.check(err)
	_, err = js.Publish(ctx, "config.backup.failed.riga.planted", []byte("x"+password))
	h.check(err)
	h.check(os.WriteFile(filepath.Join(h.archive, "planted"), []byte("x"+password), 0o600))
	want := []string{"keys of Redis: ", "stream CONFIG_EVENTS: ", "planted: ", h.natsDir}
	if h.redis.Kind() == embedded.RedisServer {
		want = append(want, "commands of Redis: ")
		eventually(h.T, "the command to show", func() bool { return strings.Contains(h.monitor.String(), "asynq:planted") })
	}
	found := strings.Join(h.look(s, h.places()), "\n")
	for _, place := range want {
		if !strings.Contains(found, place) {
			h.Errorf("what was planted is not found in %s; found: %s", place, found)
		}
	}
}
