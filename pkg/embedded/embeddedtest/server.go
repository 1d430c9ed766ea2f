package embeddedtest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

// server is asked in Redis' protocol, without a client library.
type server struct {
	address string
	token   secret.Text
	tls     *transport.TLS // nil: without
}

// listen are the settings by which it listens at its address, and by which it reaches others of its kind.
func (s server) listen(tb testing.TB) []string {
	tb.Helper()
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		tb.Fatal(err)
	}
	if s.tls == nil {
		return []string{"bind " + host, "port " + port}
	}
	return []string{
		"bind " + host, "port 0", "tls-port " + port, "tls-replication yes", "tls-auth-clients yes",
		"tls-ca-cert-file " + s.tls.CA, "tls-cert-file " + s.tls.Cert, "tls-key-file " + s.tls.Key,
	}
}

// RedisWith starts a redis-server with further lines of settings, with TLS and client certificates where files are given, and
// returns its host:port. It skips or fails the test where RequireServer does.
func RedisWith(tb testing.TB, files *transport.TLS, lines ...string) string {
	tb.Helper()
	RequireServer(tb)
	s := server{freeAddress(tb), secret.Text{}, files}
	startProcess(tb, append(append(s.listen(tb), `save ""`), lines...))
	s.await(tb, "a connection", func() (string, bool) {
		conn, err := net.DialTimeout("tcp", s.address, answerTimeout)
		if err == nil {
			err = conn.Close()
		}
		return fmt.Sprint(err), err == nil
	})
	return s.address
}

// freeAddress is one that nobody listens on.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startProcess starts a redis-server with the lines as its settings. Its shell ends it when the pipe from this process closes,
// whatever the reason.
func startProcess(tb testing.TB, lines []string, mode ...string) {
	tb.Helper()
	dir := tb.TempDir()
	file := filepath.Join(dir, "redis.conf")
	lines = append(lines, "dir "+strconv.Quote(dir), "logfile redis.log", "")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", `redis-server "$@" & read -r _; kill -9 $!; wait`, "sh", file}, mode...)...)
	hold, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = hold.Close()
		_ = cmd.Wait() // it was killed
		if text, err := os.ReadFile(filepath.Join(dir, "redis.log")); err == nil && tb.Failed() {
			tb.Logf("redis-server %v said:\n%s", mode, text)
		}
	})
}

func serverAt(tb testing.TB, at secret.URL) server {
	tb.Helper()
	u, err := url.Parse(at.Reveal())
	if err != nil {
		tb.Fatal(err)
	}
	password, _ := u.User.Password()
	return server{u.Host, secret.New(password), nil}
}

// do asks and fails the test on an error.
func (s server) do(tb testing.TB, words ...string) {
	tb.Helper()
	if _, err := s.ask(words...); err != nil {
		tb.Fatalf("%s: %v", words[0], err)
	}
}

// awaitInfo asks until a section of INFO has all the texts.
func (s server) awaitInfo(tb testing.TB, section string, texts ...string) {
	tb.Helper()
	s.await(tb, fmt.Sprintf("%q in INFO %s", texts, section), func() (string, bool) {
		info, err := s.ask("INFO", section)
		found := err == nil
		for _, text := range texts {
			found = found && strings.Contains(info, text)
		}
		return fmt.Sprintf("%s (%v)", info, err), found
	})
}

// await looks until it finds what it looks for.
func (s server) await(tb testing.TB, what string, look func() (seen string, found bool)) {
	tb.Helper()
	deadline := time.After(wiringTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		seen, found := look()
		if found {
			return
		}
		select {
		case <-deadline:
			tb.Fatalf("waited %s for %s of %s: %s", wiringTimeout, what, s.address, seen)
		case <-tick.C:
		}
	}
}

func (s server) ask(words ...string) (string, error) {
	conn, err := s.dial()
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	var answer string
	commands := [][]string{words}
	if !s.token.Empty() {
		commands = [][]string{{"AUTH", s.token.Reveal()}, words}
	}
	for _, command := range commands {
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(command))
		for _, word := range command {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
		}
		if _, err := io.WriteString(conn, b.String()); err != nil {
			return "", err
		}
		if answer, err = readAnswer(r); err != nil {
			return "", err
		}
	}
	return answer, nil
}

func (s server) dial() (net.Conn, error) {
	d := &net.Dialer{Timeout: answerTimeout}
	if s.tls == nil {
		return d.Dial("tcp", s.address)
	}
	config, err := s.tls.Config()
	if err != nil {
		return nil, err
	}
	return tls.DialWithDialer(d, "tcp", s.address, config)
}

// readAnswer reads an answer that is no list.
func readAnswer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '-':
		return "", fmt.Errorf("redis answers %s", text)
	case '$':
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return "", fmt.Errorf("redis answers %q", line)
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(r, b)
		return string(b[:n]), err
	}
	return text, nil
}
