package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
	"github.com/confhaul/confhaul/pkg/transport/transporttest"
)

func connect(t *testing.T, a Address) *Client {
	t.Helper()
	c, err := NewClient(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func passwordFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func aclUser(name, password, rules string) string {
	sum := sha256.Sum256([]byte(password))
	return "user " + name + " on #" + hex.EncodeToString(sum[:]) + " " + rules
}

// TestMutualTLS has tasks go through a Redis that wants client certificates and a user with a password from a file.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca := transporttest.NewAuthority(t)
	files := ca.Issue(t, "both")
	at := embeddedtest.RedisWith(t, &files, "user default off", aclUser("confhaul", "pa ss", "~* &* +@all"))
	a := Address{URL: secret.NewURL("rediss://confhaul@" + at), PasswordFile: passwordFile(t, "pa ss"), TLS: files}
	c := connect(t, a)
	ran := make(chan string, 1)
	startServerAt(t, a, 1, func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
		ran <- task.Device
		return backup.Next{}, nil
	}, "riga")
	setLimit(t, c, "riga", 1)
	if _, err := c.EnsureNow(t.Context(), "riga", task("r1"), false); err != nil {
		t.Fatal(err)
	}
	if got := await(t, ran, "the task"); got != "r1" {
		t.Errorf("%s ran", got)
	}
}

// refusal asks until the answer is a refusal: TLS 1.3 tells what it has against a client's certificate after the handshake, and
// where we write meanwhile the kernel may tell of the reset alone.
func refusal(t *testing.T, c *Client) (err error) {
	t.Helper()
	for range 20 {
		if err = c.Ping(t.Context()); err == nil || transport.Refused(err) {
			return err
		}
	}
	return err
}

// TestRefusedConnections gets a clear error at once for each thing that somebody must change.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	ca, other := transporttest.NewAuthority(t), transporttest.NewAuthority(t)
	server, client := ca.Issue(t, "server"), ca.Issue(t, "client")
	user := aclUser("confhaul", "right", "resetkeys ~asynq:* +ping +time")
	good := embeddedtest.RedisWith(t, &server, "user default off", user)
	expired, renamed := ca.Issue(t, "expired", transporttest.Expired), ca.Issue(t, "renamed", transporttest.OtherName)
	onlyCA := transport.TLS{CA: ca.CA}
	alien := other.Issue(t, "client")
	alien.CA = ca.CA
	late := ca.Issue(t, "late", transporttest.Expired)
	for name, c := range map[string]struct {
		at, password string
		tls          transport.TLS
		want         string
	}{
		"wrong CA":                {good, "right", transport.TLS{CA: other.CA, Cert: client.Cert, Key: client.Key}, "the server's certificate is of a CA that is not trusted here: name its CA in redis_tls.ca"},
		"no CA":                   {good, "right", transport.TLS{Cert: client.Cert, Key: client.Key}, "name its CA in redis_tls.ca"},
		"expired":                 {embeddedtest.RedisWith(t, &expired, "tls-auth-clients no"), "", onlyCA, "the server's certificate has expired or is not valid yet"},
		"another name":            {embeddedtest.RedisWith(t, &renamed, "tls-auth-clients no"), "", onlyCA, "the server's certificate is for another name"},
		"no client certificate":   {good, "right", onlyCA, "the server wants a client certificate: name one in redis_tls.cert and redis_tls.key"},
		"foreign certificate":     {good, "right", alien, "the server does not trust the CA of our client certificate: see redis_tls.cert"},
		"late client certificate": {good, "right", late, "our client certificate has expired: renew redis_tls.cert"},
		"wrong password":          {good, "wrong", client, "redis refuses the user or the password"},
		"no file":                 {good, "right", transport.TLS{CA: "/nowhere/ca.pem"}, "the CA is not readable: stat /nowhere/ca.pem"},
		"certificate and key":     {good, "right", transport.TLS{CA: ca.CA, Cert: client.Cert, Key: server.Key}, "client certificate and key do not go together: " + client.Cert},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := Address{URL: secret.NewURL("rediss://" + c.at), TLS: c.tls}
			if c.password != "" {
				a.URL, a.PasswordFile = secret.NewURL("rediss://confhaul@"+c.at), passwordFile(t, c.password)
			}
			err := refusal(t, connect(t, a))
			if err == nil || !strings.Contains(err.Error(), c.want) || !transport.Refused(err) || fault.KindOf(err) != fault.Infrastructure {
				t.Errorf("got  %v (refused: %v, %s)\nwant %s", err, transport.Refused(err), fault.KindOf(err), c.want)
			}
		})
	}
	t.Run("no TLS there", func(t *testing.T) {
		t.Parallel()
		err := connect(t, Address{URL: secret.NewURL("rediss://" + embeddedtest.RedisWith(t, nil)), TLS: onlyCA}).Ping(t.Context())
		if err == nil || !strings.Contains(err.Error(), "see that this is a port with TLS") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("missing permission", func(t *testing.T) {
		t.Parallel()
		c := connect(t, Address{URL: secret.NewURL("rediss://confhaul@" + good), PasswordFile: passwordFile(t, "right"), TLS: client})
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Writable(t.Context()); err == nil || !strings.Contains(err.Error(), "the user lacks a permission") || !transport.Refused(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no switch", func(t *testing.T) {
		t.Parallel()
		if _, err := NewClient(Address{URL: secret.NewURL("rediss://h?skip_verify=true")}); err == nil || !strings.Contains(err.Error(), "TLS is always verified") {
			t.Errorf("got %v", err)
		}
	})
}

// TestRotatedFiles has a new password and a new certificate work from the next connection on.
func TestRotatedFiles(t *testing.T) {
	t.Parallel()
	ca := transporttest.NewAuthority(t)
	files := ca.Issue(t, "both")
	at := embeddedtest.RedisWith(t, &files, "requirepass second")
	client := ca.Issue(t, "client", transporttest.Expired)
	file := passwordFile(t, "first")
	c := connect(t, Address{URL: secret.NewURL("rediss://" + at), PasswordFile: file, TLS: client})
	for _, step := range []struct {
		then func()
		want string
	}{
		{func() {}, "our client certificate has expired"},
		{func() { ca.Issue(t, "client") }, "redis refuses the user or the password"},
		{func() { write(t, file, "second", 0o644) }, file + ": others can use it (mode 0644): chmod 600 " + file},
		{func() { write(t, file, "second", 0o600) }, "<nil>"},
	} {
		step.then()
		if err := refusal(t, c); !strings.Contains(fmt.Sprint(err), step.want) {
			t.Errorf("got %v, want %s", err, step.want)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestSentinelTLS reaches a Redis behind Sentinel where all of it is TLS with client certificates and passwords.
func TestSentinelTLS(t *testing.T) {
	t.Parallel()
	files := transporttest.NewAuthority(t).Issue(t, "both")
	url := embeddedtest.StartSentinelTLS(t, files)
	if err := connect(t, Address{URL: url, TLS: files}).Writable(t.Context()); err != nil {
		t.Error(err)
	}
	err := refusal(t, connect(t, Address{URL: url, TLS: transport.TLS{CA: files.CA}}))
	if err == nil || !strings.Contains(err.Error(), "the server wants a client certificate") || !transport.Refused(err) {
		t.Errorf("without a certificate: %v", err)
	}
}
