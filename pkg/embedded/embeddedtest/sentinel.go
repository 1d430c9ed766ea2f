package embeddedtest

import (
	"bufio"
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

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	masterName = "main"
	// downAfter is longer than what a loaded machine may keep a healthy server waiting.
	downAfter     = 3 * time.Second
	answerTimeout = 5 * time.Second // of one question
	wiringTimeout = 30 * time.Second
)

// Sentinel is a Redis, a replica of it, and the Sentinel that watches both; all three end with the test.
type Sentinel struct {
	URL             secret.URL // redis-sentinel://, with the passwords of Redis and of Sentinel
	Master, Replica *embedded.Redis

	master, replica server
}

// StartSentinel starts real processes; it skips or fails the test where RequireServer does. It returns when the replica
// follows and Sentinel knows it. A master that is gone for 3 s is replaced.
func StartSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	RequireServer(tb)
	token := Token()
	s := &Sentinel{Master: startWith(tb, token), Replica: startWith(tb, token)}
	s.master, s.replica = serverAt(tb, s.Master.URL()), serverAt(tb, s.Replica.URL())
	host, port, err := net.SplitHostPort(s.master.address)
	if err != nil {
		tb.Fatal(err)
	}
	s.replica.do(tb, "CONFIG", "SET", "masterauth", token.Reveal())
	s.replica.do(tb, "REPLICAOF", host, port)
	s.replica.awaitInfo(tb, "replication", "master_link_status:up")
	watcher := startWatcher(tb, token, host, port)
	s.URL = secret.NewURL(fmt.Sprintf("%s://:%s@%s/%s/0?sentinel_password=%s", secret.SentinelScheme, url.QueryEscape(token.Reveal()),
		watcher.address, masterName, url.QueryEscape(watcher.token.Reveal())))
	watcher.awaitInfo(tb, "sentinel", "status=ok", "slaves=1")
	return s
}

func startWith(tb testing.TB, token secret.Text) *embedded.Redis {
	tb.Helper()
	return start(tb, embedded.RedisOptions{Dir: tb.TempDir(), Token: token, Kind: embedded.RedisServer})
}

// LoseReplica ends the replication for good and empties the replica, which Sentinel will promote all the same.
func (s *Sentinel) LoseReplica(tb testing.TB) {
	tb.Helper()
	s.replica.do(tb, "CONFIG", "SET", "masterauth", "none")
	s.master.do(tb, "CLIENT", "KILL", "TYPE", "replica")
	s.replica.awaitInfo(tb, "replication", "master_link_status:down")
	s.replica.do(tb, "CONFIG", "SET", "replica-read-only", "no")
	s.replica.do(tb, "FLUSHALL")
	s.replica.do(tb, "CONFIG", "SET", "replica-read-only", "yes")
}

// KillMaster ends the master as a power cut does.
func (s *Sentinel) KillMaster(tb testing.TB) {
	tb.Helper()
	p, err := os.FindProcess(s.Master.PID())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// startWatcher starts the Sentinel. Its shell ends it when the pipe from this process closes, whatever the reason.
func startWatcher(tb testing.TB, token secret.Text, host, port string) server {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := server{l.Addr().String(), Token()}
	own := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	file := filepath.Join(dir, "sentinel.conf")
	text := strings.Join([]string{
		"bind 127.0.0.1", "port " + strconv.Itoa(own), "dir " + strconv.Quote(dir), "logfile sentinel.log",
		"requirepass " + w.token.Reveal(),
		"sentinel monitor " + masterName + " " + host + " " + port + " 1",
		"sentinel auth-pass " + masterName + " " + token.Reveal(),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", masterName, downAfter.Milliseconds()),
		"sentinel failover-timeout " + masterName + " 10000", "",
	}, "\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil { // Sentinel keeps what it knows in this file
		tb.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `redis-server "$0" --sentinel & read -r _; kill -9 $!; wait`, file)
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
		if text, err := os.ReadFile(filepath.Join(dir, "sentinel.log")); err == nil && tb.Failed() {
			tb.Logf("Sentinel said:\n%s", text)
		}
	})
	return w
}

// server is asked in Redis' protocol, without a client library.
type server struct {
	address string
	token   secret.Text
}

func serverAt(tb testing.TB, at secret.URL) server {
	tb.Helper()
	u, err := url.Parse(at.Reveal())
	if err != nil {
		tb.Fatal(err)
	}
	password, _ := u.User.Password()
	return server{u.Host, secret.New(password)}
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
	deadline := time.After(wiringTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := s.ask("INFO", section)
		found := err == nil
		for _, text := range texts {
			found = found && strings.Contains(info, text)
		}
		if found {
			return
		}
		select {
		case <-deadline:
			tb.Fatalf("waited %s for %q in INFO %s: %s (%v)", wiringTimeout, texts, section, info, err)
		case <-tick.C:
		}
	}
}

func (s server) ask(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.address, answerTimeout)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	var answer string
	for _, command := range [][]string{{"AUTH", s.token.Reveal()}, words} {
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
