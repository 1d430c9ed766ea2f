// Package sshtest gives tests the SSH servers of OpenSSH and dropbear, on loopback, which end with the test.
package sshtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// requireVariable set to 1 makes a missing server a failure instead of a reason to skip.
const requireVariable = "CONFHAUL_REQUIRE_SSHD"

// grace is how long a server process has, once its connection is shut down, before it is killed.
const grace = 5 * time.Second

// Options say what a server does. The login is that of the current user, by AuthorizedKey and in no other way.
type Options struct {
	AuthorizedKey string // the public key, as a line of authorized_keys
	ForcedCommand string // shell line that runs in Dir instead of the client's command, which it finds in SSH_ORIGINAL_COMMAND; "": the client's
	NoForwarding  bool   // refuse to forward connections
	NoSFTP        bool   // refuse SFTP; of OpenSSH only
	Config        string // lines of sshd_config that win over ours; of OpenSSH only
}

// Server is a running SSH server. It starts one server process per connection, as inetd does.
type Server struct {
	Address            string
	Port               int
	User               string // who may log in: the current user
	HostKeyFingerprint string // SHA256:... of its one key, Ed25519
	Dir                string // empty at first; commands and SFTP start in it

	dir     string // keys and settings
	keygen  func(tb testing.TB, file string) (public string)
	command func() *exec.Cmd
	listen  *net.TCPListener
	log     *os.File
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	accepted int
	open     map[*net.TCPConn]*os.Process
}

// SSHD starts OpenSSH's sshd with its sftp-server.
func SSHD(tb testing.TB, o Options) *Server {
	tb.Helper()
	sshd, sshKeygen := find(tb, "sshd"), find(tb, "ssh-keygen")
	s := prepare(tb)
	if os.Geteuid() == 0 {
		// The directory of sshd's unprivileged part, fixed when it was built; an installed service makes it at boot.
		if err := os.MkdirAll("/run/sshd", 0o750); err != nil {
			tb.Fatal(err)
		}
	}
	config := []string{
		o.Config,
		"HostKey " + s.hostKeyFile(),
		"AuthorizedKeysFile " + s.write(tb, "authorized_keys", o.AuthorizedKey+"\n"),
		"ForceCommand /bin/sh " + s.script(tb, o),
		"AuthenticationMethods publickey",
		"PermitRootLogin yes",
		"StrictModes no", // temporary directories belong to everybody
		"UsePAM no",
		"PermitUserRC no",
		"PidFile none",
		"LogLevel VERBOSE",
	}
	if o.NoForwarding {
		config = append(config, "AllowTcpForwarding no")
	}
	if !o.NoSFTP {
		config = append(config, "Subsystem sftp "+findIn(tb, "sftp-server", "/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec"))
	}
	file := s.write(tb, "sshd_config", strings.Join(config, "\n")+"\n")
	s.keygen = func(tb testing.TB, file string) string {
		run(tb, exec.Command(sshKeygen, "-q", "-t", "ed25519", "-N", "", "-f", file))
		public, err := os.ReadFile(file + ".pub")
		if err != nil {
			tb.Fatal(err)
		}
		return string(public)
	}
	s.command = func() *exec.Cmd { return exec.Command(sshd, "-i", "-e", "-f", file) }
	s.start(tb)
	return s
}

// Dropbear starts dropbear. Its sftp-server is OpenSSH's, at the place where dropbear was built to look for it. Dropbear
// reads authorized_keys in the user's home alone, so it runs in a mount namespace with another /etc/passwd. It logs to
// syslog alone.
func Dropbear(tb testing.TB, o Options) *Server {
	tb.Helper()
	dropbear, dropbearkey := find(tb, "dropbear"), find(tb, "dropbearkey")
	s := prepare(tb)
	if err := os.Mkdir(filepath.Join(s.dir, ".ssh"), 0o700); err != nil {
		tb.Fatal(err)
	}
	s.write(tb, ".ssh/authorized_keys", o.AuthorizedKey+"\n")
	passwd := s.write(tb, "passwd", fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", s.User, os.Getuid(), os.Getgid(), s.dir))
	args := append(inNamespace(tb, passwd), dropbear, "-i", "-m", "-s", "-r", s.hostKeyFile(), "-c", "/bin/sh "+s.script(tb, o))
	if o.NoForwarding {
		args = append(args, "-j")
	}
	s.keygen = func(tb testing.TB, file string) string {
		out := run(tb, exec.Command(dropbearkey, "-t", "ed25519", "-f", file))
		_, public, _ := strings.Cut(out, "ssh-ed25519 ")
		return "ssh-ed25519 " + public
	}
	s.command = func() *exec.Cmd { return exec.Command(args[0], args[1:]...) }
	s.start(tb)
	return s
}

// Key makes a user's Ed25519 key: the private half in PEM, the public one as a line of authorized_keys.
func Key(tb testing.TB) (private, authorized string) {
	tb.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	const kind = "ssh-ed25519"
	var wire []byte
	for _, part := range [][]byte{[]byte(kind), public} { // RFC 8709, 4
		wire = append(binary.BigEndian.AppendUint32(wire, uint32(len(part))), part...)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), kind + " " + base64.StdEncoding.EncodeToString(wire)
}

// inNamespace is a command prefix that puts passwd in the place of /etc/passwd, for its own processes alone.
func inNamespace(tb testing.TB, passwd string) []string {
	tb.Helper()
	unshare := find(tb, "unshare")
	const bind = `mount --bind "$0" /etc/passwd && exec "$@"`
	prefix := []string{unshare, "--mount", "sh", "-c", bind, passwd}
	if os.Geteuid() != 0 {
		// Root of a namespace for the mount, and oneself again for dropbear.
		prefix = []string{unshare, "--user", "--map-root-user", "--mount", "sh", "-c", bind, passwd,
			unshare, "--user", fmt.Sprintf("--map-user=%d", os.Getuid()), fmt.Sprintf("--map-group=%d", os.Getgid())}
	}
	if out, err := exec.Command(prefix[0], append(prefix[1:], "true")...).CombinedOutput(); err != nil {
		// A machine that allows no namespaces is no fault of its owner, unlike one without the package.
		tb.Skipf("dropbear needs a mount namespace, which this machine refuses: %v: %s", err, out)
	}
	return prefix
}

func prepare(tb testing.TB) *Server {
	tb.Helper()
	u, err := user.Current()
	if err != nil {
		tb.Fatal(err)
	}
	return &Server{User: u.Username, dir: tb.TempDir(), Dir: tb.TempDir(), open: map[*net.TCPConn]*os.Process{}}
}

func (s *Server) hostKeyFile() string { return filepath.Join(s.dir, "host_key") }

func (s *Server) write(tb testing.TB, name, text string) string {
	tb.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// script is the forced command: SFTP as asked for, all else as the options say.
func (s *Server) script(tb testing.TB, o Options) string {
	tb.Helper()
	command := o.ForcedCommand
	if command == "" {
		command = `exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"`
	}
	return s.write(tb, "forced.sh", fmt.Sprintf("cd '%s' || exit 1\ncase \"$SSH_ORIGINAL_COMMAND\" in\n*/sftp-server) exec $SSH_ORIGINAL_COMMAND ;;\nesac\n%s\n",
		s.Dir, command))
}

// NewHostKey gives the server another host key for the connections to come.
func (s *Server) NewHostKey(tb testing.TB) {
	tb.Helper()
	fresh := filepath.Join(tb.TempDir(), "key")
	public := strings.Fields(s.keygen(tb, fresh))
	if len(public) < 2 {
		tb.Fatalf("make a host key: public key is %q", public)
	}
	wire, err := base64.StdEncoding.DecodeString(public[1])
	if err != nil {
		tb.Fatalf("make a host key: %v", err)
	}
	if err := os.Rename(fresh, s.hostKeyFile()); err != nil {
		tb.Fatal(err)
	}
	digest := sha256.Sum256(wire)
	s.HostKeyFingerprint = "SHA256:" + base64.RawStdEncoding.EncodeToString(digest[:])
}

// Connections says how many TCP connections the server has had.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Cut shuts every open connection down and kills its process, as when the host loses its power.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, process := range s.open {
		shut(conn)
		_ = process.Kill() // it may have ended by itself
	}
}

func (s *Server) start(tb testing.TB) {
	tb.Helper()
	s.NewHostKey(tb)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	s.listen = l
	s.Address, s.Port = "127.0.0.1", l.Addr().(*net.TCPAddr).Port
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		tb.Fatal(err)
	}
	s.running.Go(s.accept)
	tb.Cleanup(func() { s.stop(tb) })
}

func (s *Server) accept() {
	for {
		conn, err := s.listen.AcceptTCP()
		if err != nil {
			return
		}
		if err := s.serve(conn); err != nil {
			_, _ = fmt.Fprintf(s.log, "serve: %v\n", err)
		}
	}
}

// serve starts the process of one connection.
func (s *Server) serve(conn *net.TCPConn) error {
	file, err := conn.File()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer func() { _ = file.Close() }() // the process has its own copy
	cmd := s.command()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, s.log
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	if s.closed {
		return conn.Close()
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, conn.Close())
	}
	s.open[conn] = cmd.Process
	s.running.Go(func() {
		_ = cmd.Wait() // how a server process ends says nothing
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
		_ = conn.Close()
	})
	return nil
}

// stop lets the processes end with their connections, and kills by pid what does not.
func (s *Server) stop(tb testing.TB) {
	_ = s.listen.Close()
	s.mu.Lock()
	s.closed = true
	for conn := range s.open {
		shut(conn)
	}
	s.mu.Unlock()
	late := time.AfterFunc(grace, s.Cut)
	s.running.Wait()
	late.Stop()
	_ = s.log.Close()
	if !tb.Failed() {
		return
	}
	if text, err := os.ReadFile(s.log.Name()); err == nil {
		tb.Logf("log of the server on port %d:\n%s", s.Port, text[max(0, len(text)-8<<10):])
	}
}

// shut ends a connection for its process too, which has a copy of the descriptor. It fails only where the other side was first.
func shut(conn *net.TCPConn) {
	_ = conn.CloseWrite()
	_ = conn.CloseRead()
}

// find looks for a program on PATH and where daemons are.
func find(tb testing.TB, name string) string {
	tb.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return findIn(tb, name, "/usr/sbin", "/usr/local/sbin", "/sbin")
}

func findIn(tb testing.TB, name string, dirs ...string) string {
	tb.Helper()
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	missing(tb, name+" is not installed")
	return ""
}

// missing ends the test.
func missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(requireVariable) == "1" {
		tb.Fatalf("%s, and %s=1 is set", what, requireVariable)
	}
	tb.Skip(what)
}

func run(tb testing.TB, cmd *exec.Cmd) string {
	tb.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s: %v: %s", cmd.Path, err, stderr.Bytes())
	}
	return string(out)
}
