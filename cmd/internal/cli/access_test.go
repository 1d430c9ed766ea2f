package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/access"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// guarded is a Redis and a NATS with the users that settings acl makes.
type guarded struct {
	*testing.T
	dir, redis, nats string
	server           *natsiotest.Server
}

func newGuarded(t *testing.T, flags ...string) *guarded {
	t.Helper()
	g := &guarded{T: t, dir: filepath.Join(t.TempDir(), "access")}
	if made := runHere(t, append([]string{"settings", "acl", "--dir", g.dir, "--site", "riga,oslo"}, flags...)...); made.code != 0 {
		t.Fatalf("exit %d: %s", made.code, made.errOut)
	}
	acl, err := os.ReadFile(filepath.Join(g.dir, access.RedisFile))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users.acl") // with one of the test's own
	if err := os.WriteFile(file, append(acl, "user admin on >admin ~* &* +@all\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	g.redis = embeddedtest.RedisWith(t, nil, "aclfile "+file)
	conf := filepath.Join(t.TempDir(), "server.conf")
	text := "include " + relative(t, filepath.Dir(conf), filepath.Join(g.dir, access.NATSFile)) + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.server = natsiotest.StartServer(t, func(o *server.Options) {
		store, host, port := o.StoreDir, o.Host, o.Port
		parsed, err := server.ProcessConfigFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		*o = *parsed
		o.StoreDir, o.Host, o.Port, o.JetStream, o.SyncAlways, o.NoSigs, o.NoLog = store, host, port, true, true, true, true
		o.MaxPayload = 16 << 10 // so that large texts go to the object store
	})
	g.nats = g.server.Address()
	return g
}

func relative(t *testing.T, from, to string) string {
	t.Helper()
	path, err := filepath.Rel(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// as are the variables of a user's process.
func (g *guarded) as(user string) map[string]string {
	vars := map[string]string{
		"CONFHAUL_REDIS": "redis://" + user + "@" + g.redis, "CONFHAUL_REDIS_PASSWORD_FILE": filepath.Join(g.dir, access.PasswordFile(user)),
		"CONFHAUL_NATS": "nats://" + g.nats, "CONFHAUL_NATS_NKEY_FILE": filepath.Join(g.dir, access.SeedFile(user)),
	}
	if strings.HasPrefix(user, "worker") {
		vars["CONFHAUL_NATS_API_PREFIX"] = access.APIPrefix
	}
	return vars
}

func (g *guarded) start(user, config, archive string, args ...string) *process {
	var vars []string
	for k, v := range g.as(user) {
		vars = append(vars, k+"="+v)
	}
	if archive != "" {
		vars = append(vars, "CONFHAUL_ARCHIVE_DIR="+archive)
	}
	return startProcess(g.T, vars, append(args, "--config", config, "--listen", "127.0.0.1:0")...)
}

// TestLeastPrivilege runs a whole confhaul in which every process has no more than its role's permissions: all is backed up and
// archived, and neither Redis nor NATS refuses anything that a process asks for.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	const devices = 12
	_, config := fleetFiles(t, routersim.Options{Devices: devices, Seed: 7, Sites: []string{"riga", "oslo"}}, askedOnly)
	g := newGuarded(t)
	archive := filepath.Join(t.TempDir(), "archive")
	processes := map[string]*process{
		"worker-riga": g.start("worker-riga", config, "", "worker", "--site", "riga"), // they wait for the streams
		"worker-oslo": g.start("worker-oslo", config, "", "worker", "--site", "oslo"),
		"dashboard":   g.start("dashboard", config, "", "dashboard"),
		"scheduler":   g.start("scheduler", config, archive, "scheduler"),
		"archiver":    g.start("archiver", config, archive, "archiver"),
	}
	cli := func(args ...string) outcome {
		return runWith(t, g.as("cli"), append(args, "--config", config, "-o", "json")...)
	}
	first := cli("backup", "--all", "--wait")
	if first.code != 0 {
		t.Fatalf("exit %d: %s %s", first.code, first.out, first.errOut)
	}
	if s := decode[backupSummary](t, first); s.Succeeded != devices {
		t.Errorf("%+v", s)
	}
	s := &shelf{T: t, dir: archive}
	eventually(t, "the archive", func() bool { return s.versions() == devices })
	for _, args := range [][]string{{"status"}, {"site", "list"}, {"site", "limit", "riga", "3"}, {"hostkey", "list"}} {
		if o := cli(args...); o.code != 0 {
			t.Errorf("%v: exit %d: %s", args, o.code, o.errOut)
		}
	}
	if o := cli("backup", "--all", "--wait"); o.code != 0 {
		t.Errorf("once more: exit %d: %s %s", o.code, o.out, o.errOut)
	}
	processes["worker-riga"].stop(t)
	processes["worker-oslo"].stop(t)
	processes["worker"] = g.start("worker", config, "", "worker") // of all sites
	if o := cli("backup", "--all", "--wait"); o.code != 0 {
		t.Errorf("by a worker of all sites: exit %d: %s %s", o.code, o.out, o.errOut)
	}
	for _, refused := range g.admin().ACLLog(t.Context(), 100).Val() {
		t.Errorf("redis refused %s %s of %s", refused.Context, refused.Object, refused.Username)
	}
	var large struct{ State struct{ Messages int } }
	ask(t, g.login("scheduler"), "$JS.API.STREAM.INFO.OBJ_CONFIG_LARGE", "", &large)
	if large.State.Messages == 0 {
		t.Error("no text went to the object store")
	}
	for name, p := range processes {
		for _, word := range []string{"NOPERM", "ermission", `"level":"WARN"`, `"level":"ERROR"`} {
			for line := range strings.Lines(p.errOut.String()) {
				if strings.Contains(line, word) && !strings.Contains(line, "start a scheduler, which makes it") {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
	}
}

// admin may do everything in Redis.
func (g *guarded) admin() *redis.Client { return g.asRedis("admin", "admin") }

func (g *guarded) asRedis(user, password string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: g.redis, Username: user, Password: password, DisableIdentity: true})
	g.Cleanup(func() { _ = c.Close() })
	return c
}

// login is a connection of a user, without our code.
func (g *guarded) login(user string) *nats.Conn {
	g.Helper()
	nkey, err := nats.NkeyOptionFromSeed(filepath.Join(g.dir, access.SeedFile(user)))
	if err != nil {
		g.Fatal(err)
	}
	var o nats.Options
	if err := nkey(&o); err != nil {
		g.Fatal(err)
	}
	nc, err := nats.Connect(g.nats, nkey, nats.CustomInboxPrefix(natsio.InboxPrefix(o.Nkey)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(nc.Close)
	return nc
}

// ask makes a request that is allowed.
func ask(t *testing.T, nc *nats.Conn, subject, body string, out any) {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), eventTimeout)
	if err == nil {
		err = json.Unmarshal(m.Data, out)
	}
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
}

func (g *guarded) password(user string) string {
	g.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, access.PasswordFile(user)))
	if err != nil {
		g.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// emptyFleet has the files of a fleet of one router, for which nothing is ever due.
func (g *guarded) emptyFleet() (*routersim.Fleet, string) {
	g.Helper()
	return fleetFiles(g.T, routersim.Options{Devices: 1, Seed: 1}, askedOnly)
}
