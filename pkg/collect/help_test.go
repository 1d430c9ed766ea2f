package collect

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

// patience bounds every wait of these tests; a test that needs it has failed.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leaked gives the goroutines of ours or of the SSH library that do not end by themselves.
func leaked() string {
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = nil
		for _, g := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
			if strings.Contains(g, "/collect.") || strings.Contains(g, "/sshclient.") || strings.Contains(g, "crypto/ssh.") {
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

// fleet starts simulated routers that stop when the test ends.
func fleet(t *testing.T, o routersim.Options) *routersim.Fleet {
	t.Helper()
	o.Seed, o.Username, o.Password = 7, testUser, secret.New(testPassword)
	f, err := routersim.Start(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close fleet: %v", err)
		}
	})
	return f
}

// lone is one router of a release, with a fault.
func lone(t *testing.T, version string, size int, fault routersim.Fault) (*routersim.Fleet, *routersim.Router) {
	t.Helper()
	f := fleet(t, routersim.Options{Devices: 1, Versions: []string{version}, Size: size})
	r := f.Routers()[0]
	if err := r.SetFault(fault); err != nil {
		t.Fatal(err)
	}
	return f, r
}

const (
	v6 = "6.49.18"
	v7 = "7.20.2"
)

// orderFor takes any host key.
func orderFor(r *routersim.Router) backup.Order {
	return backup.Order{
		Device:     device.Device{ID: r.ID(), Address: r.Address(), Port: r.Port()},
		Credential: secret.Credential{Username: testUser, Password: secret.New(testPassword)},
		Trust:      func(context.Context, device.HostKey) error { return nil },
		Version:    r.Version(),
	}
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

// exports is a Trace that counts export steps and calls at after the n-th.
type exports struct {
	count int
	at    func(n int)
}

func (e *exports) trace(s backup.Step) {
	if s.Name != stepExport {
		return
	}
	e.count++
	if e.at != nil {
		e.at(e.count)
	}
}
