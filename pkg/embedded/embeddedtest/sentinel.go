package embeddedtest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
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
	s.URL = wire(tb, secret.SentinelScheme, token, s.master, s.replica)
	return s
}

// StartSentinelTLS is StartSentinel with TLS and client certificates on all connections, those between the three included.
func StartSentinelTLS(tb testing.TB, files transport.TLS) secret.URL {
	tb.Helper()
	RequireServer(tb)
	token := Token()
	var both [2]server
	for i := range both {
		both[i] = server{freeAddress(tb), token, &files}
		startProcess(tb, append(both[i].listen(tb), "requirepass "+token.Reveal(), `save ""`))
		both[i].awaitInfo(tb, "server", "redis_version")
	}
	return wire(tb, secret.SentinelTLSScheme, token, both[0], both[1])
}

// wire makes one server the replica of the other, and has a Sentinel watch them.
func wire(tb testing.TB, scheme string, token secret.Text, master, replica server) secret.URL {
	tb.Helper()
	host, port, err := net.SplitHostPort(master.address)
	if err != nil {
		tb.Fatal(err)
	}
	replica.do(tb, "CONFIG", "SET", "masterauth", token.Reveal())
	replica.do(tb, "REPLICAOF", host, port)
	replica.awaitInfo(tb, "replication", "master_link_status:up")
	watcher := server{freeAddress(tb), Token(), master.tls}
	startProcess(tb, append(watcher.listen(tb), // Sentinel keeps what it knows in its settings
		"requirepass "+watcher.token.Reveal(),
		"sentinel monitor "+masterName+" "+host+" "+port+" 1",
		"sentinel auth-pass "+masterName+" "+token.Reveal(),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", masterName, downAfter.Milliseconds()),
		"sentinel failover-timeout "+masterName+" 10000",
	), "--sentinel")
	watcher.awaitInfo(tb, "sentinel", "status=ok", "slaves=1")
	return secret.NewURL(fmt.Sprintf("%s://:%s@%s/%s/0?sentinel_password=%s", scheme, url.QueryEscape(token.Reveal()),
		watcher.address, masterName, url.QueryEscape(watcher.token.Reveal())))
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
