package cli

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
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
	"github.com/confhaul/confhaul/pkg/transport"
	"github.com/confhaul/confhaul/pkg/transport/transporttest"
)

// guarded is a Redis and a NATS with the users that settings acl makes, TLS, and client certificates.
type guarded struct {
	*testing.T
	dir, redis, nats string
	files            transport.TLS
	server           *natsiotest.Server
	refused          lockedBuffer // what NATS says of it
}

func newGuarded(t *testing.T, flags ...string) *guarded {
	t.Helper()
	g := &guarded{T: t, dir: filepath.Join(t.TempDir(), "access"), files: transporttest.NewAuthority(t).Issue(t, "confhaul")}
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
	g.redis = embeddedtest.RedisWith(t, &g.files, "aclfile "+file)
	conf := filepath.Join(t.TempDir(), "server.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\ntls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}\ninclude %s\n", g.files.Cert, g.files.Key,
		g.files.CA, relative(t, filepath.Dir(conf), filepath.Join(g.dir, access.NATSFile)))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.startNATS(conf)
	return g
}

// startNATS starts a server with the settings of a file, and a limit for messages so low that large texts go to the object store.
func (g *guarded) startNATS(conf string) {
	g.Helper()
	g.server = natsiotest.StartServer(g.T, func(o *server.Options) {
		store := o.StoreDir
		parsed, err := server.ProcessConfigFile(conf)
		if err != nil {
			g.Fatal(err)
		}
		*o = *parsed
		o.StoreDir, o.JetStream, o.SyncAlways, o.NoSigs, o.NoLog, o.MaxPayload = store, true, true, true, true, 16<<10
	})
	g.server.Srv.SetLogger(refusalLog{w: &g.refused}, false, false)
	g.nats = "tls://" + g.server.Address()
}

// refusalLog is a log of NATS that keeps what the server refuses, which it reports as errors.
type refusalLog struct{ w io.Writer }

func (l refusalLog) Errorf(format string, v ...any) { _, _ = fmt.Fprintf(l.w, format+"\n", v...) }
func (l refusalLog) Noticef(string, ...any)         {}
func (l refusalLog) Warnf(string, ...any)           {}
func (l refusalLog) Fatalf(string, ...any)          {}
func (l refusalLog) Debugf(string, ...any)          {}
func (l refusalLog) Tracef(string, ...any)          {}

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
		"CONFHAUL_REDIS": "rediss://" + user + "@" + g.redis, "CONFHAUL_REDIS_PASSWORD_FILE": filepath.Join(g.dir, access.PasswordFile(user)),
		"CONFHAUL_NATS": g.nats, "CONFHAUL_NATS_NKEY_FILE": filepath.Join(g.dir, access.SeedFile(user)),
	}
	for _, server := range []string{"CONFHAUL_REDIS_TLS_", "CONFHAUL_NATS_TLS_"} {
		vars[server+"CA"], vars[server+"CERT"], vars[server+"KEY"] = g.files.CA, g.files.Cert, g.files.Key
	}
	if strings.HasPrefix(user, "worker") {
		vars["CONFHAUL_NATS_API_PREFIX"] = access.APIPrefix
	}
	return vars
}

func (g *guarded) start(user, config string, args ...string) *process {
	var vars []string
	for k, v := range g.as(user) {
		vars = append(vars, k+"="+v)
	}
	return startProcess(g.T, vars, append(args, "--config", config, "--listen", "127.0.0.1:0")...)
}

// admin may do everything in Redis.
func (g *guarded) admin() *redis.Client { return g.asRedis("admin", "admin") }

func (g *guarded) tls() *tls.Config {
	g.Helper()
	c, err := g.files.Config()
	if err != nil {
		g.Fatal(err)
	}
	return c
}

func (g *guarded) asRedis(user, password string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: g.redis, Username: user, Password: password, DisableIdentity: true, TLSConfig: g.tls()})
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
	nc, err := nats.Connect(g.nats, nkey, nats.Secure(g.tls()), nats.CustomInboxPrefix(natsio.InboxPrefix(o.Nkey)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
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
