package sshclient

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/secret"
)

// patience bounds every wait of these tests; a test that needs it has failed.
const patience = 10 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leaked gives the goroutines of ours or of the SSH and SFTP libraries that do not end by themselves.
func leaked() string {
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = nil
		for _, g := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
			if strings.Contains(g, "/sshclient.") || strings.Contains(g, "crypto/ssh.") || strings.Contains(g, "pkg/sftp.") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}

const (
	testUser     = "backup"
	testPassword = "sesame-4711"
)

// The keys of the test routers and users, made once.
var (
	rsaKey     = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ed25519Key = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
	otherKey   = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signer(key any) ssh.Signer { return must(ssh.NewSignerFromKey(key)) }

func pemOf(key any) secret.Text {
	return secret.New(string(pem.EncodeToMemory(must(ssh.MarshalPrivateKey(key, "")))))
}

// router is an SSH server to order, for what the simulated fleet cannot do. Each hook replaces the usual behaviour.
type router struct {
	config   ssh.ServerConfig
	hostKeys []ssh.Signer                           // default: RSA
	conn     func(net.Conn, <-chan struct{})        // instead of SSH; the channel closes when the test ends
	channel  func(ssh.NewChannel) bool              // true: has been dealt with
	mute     bool                                   // does not answer requests on the connection
	exec     func(command string, s *serverSession) // default: prints the command

	subsystem func(s *serverSession) // SFTP; nil: refused
	deaf      bool                   // does not answer the request for a subsystem
}

type serverSession struct {
	ssh.Channel
	conn net.Conn
	done <-chan struct{} // closes when the test ends
}

// exit ends the session as RouterOS does.
func (s *serverSession) exit(status uint32) {
	_, _ = s.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
	_ = s.Close()
}

// start serves until the test ends and gives a target that fits.
func (r *router) start(t *testing.T) Target {
	t.Helper()
	if len(r.hostKeys) == 0 {
		r.hostKeys = []ssh.Signer{signer(rsaKey())}
	}
	for _, k := range r.hostKeys {
		r.config.AddHostKey(k)
	}
	if r.config.PasswordCallback == nil && r.config.PublicKeyCallback == nil {
		r.config.PasswordCallback = func(c ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			if c.User() == testUser && string(p) == testPassword {
				return nil, nil
			}
			return nil, errors.New("invalid user name or password")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() { r.serve(conn, done) })
		}
	})
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return Target{
		Address:  "127.0.0.1",
		Port:     l.Addr().(*net.TCPAddr).Port,
		Username: testUser,
		Password: secret.New(testPassword),
	}
}

func (r *router) serve(conn net.Conn, done <-chan struct{}) {
	defer conn.Close()
	if r.conn != nil {
		r.conn(conn, done)
		return
	}
	_, channels, requests, err := ssh.NewServerConn(conn, &r.config)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for req := range requests {
			if req.WantReply && !r.mute {
				_ = req.Reply(false, nil)
			}
		}
	})
	for nc := range channels {
		if r.channel != nil && r.channel(nc) {
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { r.session(&serverSession{Channel: ch, conn: conn, done: done}, reqs, &wg) })
	}
}

func (r *router) session(s *serverSession, reqs <-chan *ssh.Request, wg *sync.WaitGroup) {
	for req := range reqs {
		if req.Type == "subsystem" && r.deaf {
			continue
		}
		sub := req.Type == "subsystem" && r.subsystem != nil
		ok := req.Type == "exec" || sub
		if req.WantReply {
			_ = req.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		if sub {
			wg.Go(func() {
				r.subsystem(s)
				_ = s.Close()
			})
			continue
		}
		var msg struct{ Command string }
		if err := ssh.Unmarshal(req.Payload, &msg); err != nil {
			return
		}
		wg.Go(func() {
			if r.exec != nil {
				r.exec(msg.Command, s)
				return
			}
			_, _ = fmt.Fprintf(s, "%s\r\n", msg.Command)
			s.exit(0)
		})
	}
}

// filler is n bytes that are not all alike.
func filler(n int) []byte {
	return bytes.Repeat([]byte("add address=10.0.0.1/24 interface=ether1\r\n"), n/42+1)[:n]
}
