package sshclient

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// open dials, and closes when the test ends.
func open(t *testing.T, target Target) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// wantFault checks an error's kind and that its text holds all of words and no secret.
func wantFault(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if got := fault.KindOf(err); got != kind {
		t.Fatalf("kind = %q, want %q: %v", got, kind, err)
	}
	if err == nil {
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
	if strings.Contains(err.Error(), testPassword) {
		t.Errorf("error shows the password: %q", err)
	}
}

func hostKeyOf(s ssh.Signer) device.HostKey {
	k := s.PublicKey()
	return device.HostKey{Type: k.Type(), Fingerprint: ssh.FingerprintSHA256(k), Key: k.Marshal()}
}

func TestDialAgreesOnEachAlgorithm(t *testing.T) {
	t.Parallel()
	try := func(name string, config ssh.Config, want string, got func(kex, cipher, mac string) string) {
		t.Run(name+" "+want, func(t *testing.T) {
			t.Parallel()
			r := &router{config: ssh.ServerConfig{Config: config}}
			c := open(t, r.start(t))
			kex, cipher, mac, _ := c.Algorithms()
			if got := got(kex, cipher, mac); got != want {
				t.Errorf("agreed on %q, want %q", got, want)
			}
			if out, err := c.Exec(t.Context(), "/export", nil, 0); err != nil || string(out) != "/export\r\n" {
				t.Errorf("output %q, error %v", out, err)
			}
		})
	}
	// Named one by one, not taken from the lists under test: these are what RouterOS releases have offered alone.
	for _, k := range []string{
		"curve25519-sha256", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group14-sha256",
		"diffie-hellman-group16-sha512", "diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha256",
		"diffie-hellman-group1-sha1", "diffie-hellman-group-exchange-sha1",
	} {
		try("kex", ssh.Config{KeyExchanges: []string{k}}, k, func(kex, _, _ string) string { return kex })
	}
	for _, c := range []string{
		"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-cbc", "3des-cbc",
	} {
		try("cipher", ssh.Config{Ciphers: []string{c}}, c, func(_, cipher, _ string) string { return cipher })
	}
	for _, m := range []string{
		"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1", "hmac-sha1-96",
	} {
		try("mac", ssh.Config{MACs: []string{m}, Ciphers: []string{ssh.CipherAES256CTR}}, m, func(_, _, mac string) string { return mac })
	}
}

func TestDialPrefersTheCheapAndNeedsNoSlowExchange(t *testing.T) {
	t.Parallel()
	c := open(t, (&router{}).start(t))
	kex, cipher, mac, hostKey := c.Algorithms()
	got := []string{kex, cipher, mac, hostKey}
	want := []string{ssh.KeyExchangeCurve25519, ssh.CipherAES128GCM, "", ssh.KeyAlgoRSASHA512}
	if !slices.Equal(got, want) {
		t.Errorf("agreed on %q, want %q", got, want)
	}
}

func TestDialLogin(t *testing.T) {
	t.Parallel()
	accept := func(want ssh.PublicKey, algorithms ...string) ssh.ServerConfig {
		return ssh.ServerConfig{
			PublicKeyAuthAlgorithms: algorithms,
			PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
				if string(key.Marshal()) == string(want.Marshal()) {
					return nil, nil
				}
				return nil, errors.New("unknown key")
			},
		}
	}
	tests := []struct {
		name   string
		config ssh.ServerConfig
		change func(*Target)
		kind   fault.Kind
		words  []string
	}{
		{name: "password"},
		{name: "ed25519 key", config: accept(signer(ed25519Key()).PublicKey()), change: func(t *Target) { t.PrivateKey = pemOf(ed25519Key()) }},
		{name: "RSA key", config: accept(signer(rsaKey()).PublicKey()), change: func(t *Target) { t.PrivateKey = pemOf(rsaKey()) }},
		{name: "RSA key where only SHA-1 is taken", config: accept(signer(rsaKey()).PublicKey(), ssh.KeyAlgoRSA),
			change: func(t *Target) { t.PrivateKey = pemOf(rsaKey()) }},
		{name: "wrong password", change: func(t *Target) { t.Password = secret.New("x" + testPassword) },
			kind: fault.Auth, words: []string{`login: user "backup" by password: refused`, "/user address=", "always-allow-password-login"}},
		{name: "wrong key", config: accept(signer(rsaKey()).PublicKey()), change: func(t *Target) { t.PrivateKey = pemOf(otherKey()) },
			kind: fault.Auth, words: []string{"by publickey: refused", "/user ssh-keys"}},
		{name: "password where a key is wanted", config: accept(signer(rsaKey()).PublicKey()),
			kind: fault.Auth, words: []string{`the router offers only "publickey"`}},
		{name: "too many attempts", config: ssh.ServerConfig{MaxAuthTries: 1, PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
			return nil, errors.New("no")
		}}, kind: fault.Auth},
		{name: "unreadable key", change: func(t *Target) { t.PrivateKey = secret.New(testPassword) },
			kind: fault.Infrastructure, words: []string{"not readable", "was not dialled"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &router{config: tt.config}
			target := r.start(t)
			if tt.change != nil {
				tt.change(&target)
			}
			c, err := Dial(t.Context(), target, nil)
			wantFault(t, err, tt.kind, tt.words...)
			if err == nil {
				_ = c.Close()
			}
		})
	}
}

func TestDialConnectionFaults(t *testing.T) {
	t.Parallel()
	say := func(s string) func(net.Conn, <-chan struct{}) {
		return func(c net.Conn, _ <-chan struct{}) { _, _ = c.Write([]byte(s)) }
	}
	tests := []struct {
		name  string
		conn  func(net.Conn, <-chan struct{})
		words []string
	}{
		{"closes at once", say(""), []string{"handshake: ", "took the connection and closed it", "/ip service ssh address="}},
		{"closes after its banner", say("SSH-2.0-ROSSSH\r\n"), []string{"took the connection and closed it"}},
		{"resets", func(c net.Conn, _ <-chan struct{}) {
			hear(c)
			_ = c.(*net.TCPConn).SetLinger(0)
		}, []string{"handshake: "}},
		{"speaks something else", say(strings.Repeat("HTTP/1.1 400 Bad Request ", 1000)), []string{"does not speak SSH"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Dial(t.Context(), (&router{conn: tt.conn}).start(t), nil)
			wantFault(t, err, fault.Unreachable, tt.words...)
		})
	}
	t.Run("refuses", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		target := Target{Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
		_ = l.Close()
		_, err = Dial(t.Context(), target, nil)
		wantFault(t, err, fault.Unreachable, "dial: ", "nothing listens there", "/ip service ssh")
	})
	t.Run("closes during the login", func(t *testing.T) {
		t.Parallel()
		conns := make(chan net.Conn, 1)
		r := &router{}
		r.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
			_ = (<-conns).Close()
			return nil, errors.New("never heard")
		}
		target := r.start(t)
		c, err := net.Dial("tcp", net.JoinHostPort(target.Address, fmt.Sprint(target.Port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		relay := &router{conn: func(client net.Conn, _ <-chan struct{}) {
			conns <- client
			pipe(client, c)
		}}
		_, err = Dial(t.Context(), relay.start(t), nil)
		wantFault(t, err, fault.Unreachable, "login: ", "connection lost before an answer", "/user address=")
	})
}

// hear waits for the client's first byte, at which its dial is over.
func hear(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }

// pipe copies both ways until both sides are closed.
func pipe(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := a.Read(buf)
			if err != nil {
				_ = b.Close()
				return
			}
			_, _ = b.Write(buf[:n])
		}
	}()
	buf := make([]byte, 4096)
	for {
		n, err := b.Read(buf)
		if err != nil {
			_ = a.Close()
			break
		}
		_, _ = a.Write(buf[:n])
	}
	<-done
}

func TestDialTrace(t *testing.T) {
	t.Parallel()
	trace := func(target Target) (steps []backup.Step) {
		c, err := Dial(t.Context(), target, func(s backup.Step) { steps = append(steps, s) })
		if err == nil {
			_ = c.Close()
		}
		return steps
	}
	names := func(steps []backup.Step) (names []string) {
		for _, s := range steps {
			names = append(names, s.Name)
		}
		return names
	}
	good := (&router{}).start(t)
	bad := good
	bad.Password = secret.New("wrong")
	mismatch := good
	mismatch.HostKey = new(hostKeyOf(signer(otherKey())))

	all := []string{stepDial, stepHandshake, stepLogin}
	steps := trace(good)
	if !slices.Equal(names(steps), all) {
		t.Fatalf("steps = %v", steps)
	}
	for _, want := range []string{ssh.KeyExchangeCurve25519, ssh.CipherAES128GCM, ssh.FingerprintSHA256(signer(rsaKey()).PublicKey())} {
		if !strings.Contains(steps[1].Detail, want) {
			t.Errorf("handshake detail %q lacks %q", steps[1].Detail, want)
		}
	}
	steps = trace(bad)
	if !slices.Equal(names(steps), all) || !strings.Contains(steps[2].Detail, "refused") || !strings.Contains(steps[1].Detail, "SHA256:") {
		t.Errorf("steps of a refused login = %v", steps)
	}
	if steps = trace(mismatch); !slices.Equal(names(steps), all[:2]) || !strings.Contains(steps[1].Detail, "on record") {
		t.Errorf("steps of a wrong key = %v", steps)
	}
}
