package cli

import (
	"net"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
)

// TestReadyTellsOfAProcess asks one that waits for Redis, one that has everything, and none.
func TestReadyTellsOfAProcess(t *testing.T) {
	t.Parallel()
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	waits, ready := freePort(t), freePort(t)
	startProcess(t, []string{"CONFHAUL_REDIS=" + freePort(t), "CONFHAUL_NATS=" + nats}, "scheduler", "--listen", waits)
	eventually(t, "a process that says what it waits for", func() bool {
		o := runHere(t, "ready", "--listen", waits)
		return o.code == exitFailure && strings.Contains(o.errOut, "not ready: start: waiting for Redis and NATS")
	})
	startProcess(t, []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats, "CONFHAUL_LISTEN=" + ready}, "scheduler")
	eventually(t, "a process that is ready", func() bool {
		return runWith(t, map[string]string{"CONFHAUL_LISTEN": ready}, "ready") == outcome{out: "ready\n"}
	})
	if o := runHere(t, "ready", "--listen", freePort(t)); o.code != exitFailure || !strings.Contains(o.errOut, "connection refused") {
		t.Errorf("exit %d: %s", o.code, o.errOut)
	}
	if o := runHere(t, "ready", "--listen", "127.0.0.1:0"); o.code != exitUsage {
		t.Errorf("exit %d: %s", o.code, o.errOut)
	}
}

func TestLocalAddress(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:9470": "127.0.0.1:9470", ":9470": "127.0.0.1:9470", "0.0.0.0:9470": "127.0.0.1:9470",
		"[::]:9470": "[::1]:9470", "10.1.2.3:80": "10.1.2.3:80", "host:0": "", "host": "",
	} {
		if got, err := localAddress(listen); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v", listen, got, err)
		}
	}
}

// freePort is an address of loopback at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
