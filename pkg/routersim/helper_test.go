package routersim

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	testUser     = "backup"
	testPassword = "right horse"
	testTimeout  = 30 * time.Second
	marker       = "end-4f1c"
)

func start(t *testing.T, o Options) *Fleet {
	t.Helper()
	if o.Devices == 0 {
		o.Devices = 1
	}
	o.Username, o.Password = testUser, secret.New(testPassword)
	f, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func one(t *testing.T, version string) *Router {
	t.Helper()
	return start(t, Options{Versions: []string{version}}).Routers()[0]
}

func endpoint(r *Router) string { return net.JoinHostPort(r.Address(), fmt.Sprint(r.Port())) }

func password(p string) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: testUser, Auth: []ssh.AuthMethod{ssh.Password(p)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
}

// dial logs in; the connection closes with the test and cannot outlive its timeout.
func dial(t *testing.T, r *Router, c *ssh.ClientConfig) (*ssh.Client, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", endpoint(r), testTimeout)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, endpoint(r), c)
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(sc, channels, requests), nil
}

// run executes one line over a connection of its own; a command that RouterOS ends well has exit status 0.
func run(t *testing.T, r *Router, line string) string {
	t.Helper()
	c, err := dial(t, r, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Output(line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return string(out)
}

func whole(r *Router) string {
	if strings.HasPrefix(r.Version(), "6.") {
		return "/export"
	}
	return "/export show-sensitive"
}

func marked(r *Router) string { return whole(r) + `; :put "` + marker + `"` }

// settled takes out what may differ between two runs: the date, the status comments and the pages of the display.
func settled(export string) string {
	var out strings.Builder
	for i, line := range strings.SplitAfter(export, "\r\n") {
		status := strings.HasPrefix(line, "# ") && i > 0 && !strings.Contains(line, " = ")
		page := strings.HasPrefix(line, "set <") || strings.HasPrefix(line, `set "<`) || line == "/lcd interface pages\r\n"
		if i > 0 && !status && !page {
			out.WriteString(line)
		}
	}
	return out.String()
}
