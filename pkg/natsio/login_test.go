package natsio_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
	"github.com/confhaul/confhaul/pkg/transport/transporttest"
)

func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "secret")
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// tlsServer has a change of the server's options that makes it speak TLS alone, with client certificates where verify says so.
func tlsServer(t *testing.T, files transport.TLS, verify bool) func(*server.Options) {
	t.Helper()
	config, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.ClientCAs = config.RootCAs
	if verify {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return func(o *server.Options) { o.TLSConfig, o.TLSTimeout = config, 10 }
}

func newUser(t *testing.T) (seed, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return string(s), public
}

func tlsURL(s *natsiotest.Server, user string) secret.URL {
	return secret.NewURL("tls://" + user + s.Address())
}

// TestLogins logs in by mutual TLS with a password, an nkey and creds, each from a file.
func TestLogins(t *testing.T) {
	t.Parallel()
	ca := transporttest.NewAuthority(t)
	files, client := ca.Issue(t, "server"), ca.Issue(t, "client")
	seed, public := newUser(t)
	s := natsiotest.StartServer(t, tlsServer(t, files, true), func(o *server.Options) {
		o.Users = []*server.User{{Username: "confhaul", Password: "pa ss"}}
		o.Nkeys = []*server.NkeyUser{{Nkey: public}}
	})
	for name, o := range map[string]natsio.Options{
		"password": {URL: tlsURL(s, "confhaul@"), PasswordFile: writeFile(t, "", "pa ss\n", 0o600)},
		"nkey":     {URL: tlsURL(s, ""), NkeyFile: writeFile(t, "", seed+"\n", 0o600)},
		"several":  {URL: secret.NewURL("tls://confhaul@127.0.0.1:1,tls://confhaul@" + s.Address()), PasswordFile: writeFile(t, "", "pa ss", 0o600)},
	} {
		o.TLS = client
		c, err := natsio.Connect(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := c.JetStream().AccountInfo(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
}

// TestCreds logs in to a server in operator mode.
func TestCreds(t *testing.T) {
	t.Parallel()
	operator, err := nkeys.CreateOperator()
	must(t, err)
	account, err := nkeys.CreateAccount()
	must(t, err)
	accountPublic, err := account.PublicKey()
	must(t, err)
	operatorPublic, err := operator.PublicKey()
	must(t, err)
	accountJWT, err := jwt.NewAccountClaims(accountPublic).Encode(operator)
	must(t, err)
	resolver := &server.MemAccResolver{}
	must(t, resolver.Store(accountPublic, accountJWT))
	s := natsiotest.StartServer(t, func(o *server.Options) {
		claims := jwt.NewOperatorClaims(operatorPublic)
		o.TrustedOperators, o.AccountResolver, o.JetStream = []*jwt.OperatorClaims{claims}, resolver, false
	})
	seed, public := newUser(t)
	userJWT, err := jwt.NewUserClaims(public).Encode(account)
	must(t, err)
	creds, err := jwt.FormatUserConfig(userJWT, []byte(seed))
	must(t, err)
	c, err := natsio.Connect(t.Context(), natsio.Options{URL: s.URL(), CredsFile: writeFile(t, "", string(creds), 0o600)})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRefusedConnections gets a clear error at once for each thing that somebody must change, and a process that waits is told
// the same once.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	ca, other := transporttest.NewAuthority(t), transporttest.NewAuthority(t)
	client := ca.Issue(t, "client")
	seed, _ := newUser(t)
	_, known := newUser(t)
	users := func(o *server.Options) {
		o.Users = []*server.User{{Username: "confhaul", Password: "right"}}
		o.Nkeys = []*server.NkeyUser{{Nkey: known}}
	}
	good := natsiotest.StartServer(t, tlsServer(t, ca.Issue(t, "server"), true), users)
	expired := natsiotest.StartServer(t, tlsServer(t, ca.Issue(t, "expired", transporttest.Expired), false))
	renamed := natsiotest.StartServer(t, tlsServer(t, ca.Issue(t, "renamed", transporttest.OtherName), false))
	plain := natsiotest.StartServer(t)
	right, wrong := writeFile(t, "", "right", 0o600), writeFile(t, "", "wrong", 0o600)
	open := writeFile(t, "", "right", 0o644)
	onlyCA := transport.TLS{CA: ca.CA}
	alien := other.Issue(t, "client")
	alien.CA = ca.CA
	for name, c := range map[string]struct {
		o    natsio.Options
		want string
	}{
		"wrong CA":              {natsio.Options{URL: tlsURL(good, "confhaul@"), PasswordFile: right, TLS: transport.TLS{CA: other.CA}}, "the server's certificate is of a CA that is not trusted here: name its CA in nats_tls.ca"},
		"expired":               {natsio.Options{URL: tlsURL(expired, ""), TLS: onlyCA}, "the server's certificate has expired"},
		"another name":          {natsio.Options{URL: tlsURL(renamed, ""), TLS: onlyCA}, "the server's certificate is for another name"},
		"no client certificate": {natsio.Options{URL: tlsURL(good, "confhaul@"), PasswordFile: right, TLS: onlyCA}, "wants a client certificate"},
		"foreign certificate":   {natsio.Options{URL: tlsURL(good, "confhaul@"), PasswordFile: right, TLS: alien}, "nats_tls.cert"},
		"wrong password":        {natsio.Options{URL: tlsURL(good, "confhaul@"), PasswordFile: wrong, TLS: client}, "NATS refuses the user"},
		"unknown nkey":          {natsio.Options{URL: tlsURL(good, ""), NkeyFile: writeFile(t, "", seed, 0o600), TLS: client}, "NATS refuses the user"},
		"no TLS there":          {natsio.Options{URL: tlsURL(plain, ""), TLS: onlyCA}, "the server speaks no TLS"},
		"open file":             {natsio.Options{URL: tlsURL(good, "confhaul@"), PasswordFile: open, TLS: client}, open + ": others can use it (mode 0644): chmod 600 " + open},
		"no seed":               {natsio.Options{URL: tlsURL(good, ""), NkeyFile: right, TLS: client}, right + " holds no seed of a user (SU...)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := natsio.Connect(t.Context(), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.KindOf(err) != fault.Infrastructure {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if name == "open file" || name == "no seed" {
				return
			}
			told := make(chan error, 10)
			c.o.Wait, c.o.OnChange = true, func(_ bool, err error) { told <- err }
			done := make(chan error, 1)
			ctx := natsiotest.Within(t)
			go func() { _, err := natsio.Connect(ctx, c.o); done <- err }()
			if err := natsiotest.Next(t, told); !strings.Contains(fmt.Sprint(err), c.want) || !transport.Refused(err) {
				t.Errorf("told %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestRotation changes password and certificate of a standing connection: the next one has them.
func TestRotation(t *testing.T) {
	t.Parallel()
	ca := transporttest.NewAuthority(t)
	password := "first"
	s := natsiotest.StartServer(t, tlsServer(t, ca.Issue(t, "server"), true), func(o *server.Options) {
		o.Users = []*server.User{{Username: "confhaul", Password: password}}
	})
	client, file := ca.Issue(t, "client"), writeFile(t, "", password, 0o600)
	changes := make(chan string, 10)
	c, err := natsio.Connect(t.Context(), natsio.Options{
		URL: tlsURL(s, "confhaul@"), PasswordFile: file, TLS: client,
		OnChange: func(up bool, err error) { changes <- fmt.Sprint(up, " ", err) },
	})
	must(t, err)
	t.Cleanup(c.Close)
	see := func(want string) {
		t.Helper()
		if got := natsiotest.Next(t, changes); !strings.Contains(got, want) {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	see("true <nil>")
	s.Stop()
	see("false")
	s.Opts.Users = []*server.User{{Username: "confhaul", Password: "second"}}
	ca.Issue(t, "client", transporttest.Expired)
	s.Start()
	see("nats_tls.cert") // it has expired
	ca.Issue(t, "client")
	writeFile(t, file, "second", 0o600)
	see("true <nil>")
}
