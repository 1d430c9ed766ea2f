package bench

import (
	"slices"
	"strings"
)

// part is something that CPU time is spent on: a stack belongs to it where each of the prefixes begins some function of it.
type part struct {
	name     string
	prefixes []string
}

const ours = "github.com/confhaul/confhaul/"

// parts in the order in which they are tried; the first that fits has the stack. The garbage collector comes first, because
// whoever allocates may have to work for it.
var parts = []part{
	{partGC, []string{"runtime.gcBgMarkWorker"}},
	{partGC, []string{"runtime.gcAssistAlloc"}},
	{partGC, []string{"runtime.bgsweep"}},
	{partGC, []string{"runtime.bgscavenge"}},
	{partGC, []string{"runtime.gcStart"}},
	{partGC, []string{"runtime.gcMarkDone"}},

	{partKeys, []string{"golang.org/x/crypto/ssh.(*handshakeTransport).enterKeyExchange"}},
	{partKeys, []string{"golang.org/x/crypto/ssh.(*handshakeTransport).client"}},
	{partCipher, []string{"golang.org/x/crypto/ssh.", "crypto/"}},
	{partConnect, []string{"net.(*Dialer)."}},
	{partConnect, []string{ours + "pkg/sshclient.(*Conn).Close"}},
	{partConnect, []string{"golang.org/x/crypto/ssh.(*connection).Close"}},
	{partConnect, []string{"net.(*conn).Close", "golang.org/x/crypto/ssh."}},
	{partLogin, []string{"golang.org/x/crypto/ssh.(*connection).clientHandshake"}},
	{partRead, []string{"golang.org/x/crypto/ssh."}},
	{partRead, []string{ours + "pkg/sshclient."}},
	{partRead, []string{ours + "pkg/bench."}},

	{partProve, []string{ours + "pkg/routeros.Prove"}},
	{partDigest, []string{ours + "pkg/routeros.Digest"}},
	{partCollect, []string{ours + "pkg/collect."}},
	{partPublish, []string{ours + "pkg/stream."}},
	{partState, []string{ours + "pkg/state."}},
	{partLog, []string{"log/slog."}},
	{partMetrics, []string{"github.com/prometheus/"}},
	{partNATS, []string{"github.com/nats-io/"}},
	{partRedis, []string{ours + "pkg/queue.", "github.com/redis/"}},
	{partRedis, []string{"github.com/redis/"}},
	{partRedis, []string{"github.com/hibiken/asynq."}},
	{partRedis, []string{ours + "pkg/queue."}},
	{partWorker, []string{ours + "worker."}},

	{partRuntime, []string{"runtime.mcall"}},
	{partRuntime, []string{"runtime.mstart"}},
	{partRuntime, []string{"runtime.sysmon"}},
	{partRuntime, []string{"runtime.goexit0"}},
	{partRuntime, []string{"runtime.schedule"}},
}

// The parts, as they are printed.
const (
	partKeys    = "ssh key exchange"
	partLogin   = "ssh login"
	partCipher  = "ssh cipher and mac"
	partRead    = "ssh transport, read"
	partConnect = "connect, close"
	partProve   = "prove, normalize"
	partDigest  = "digest"
	partCollect = "collect, the rest"
	partPublish = "publish"
	partState   = "state in KV"
	partNATS    = "nats client"
	partRedis   = "redis, asynq"
	partLog     = "log"
	partMetrics = "metrics"
	partWorker  = "worker, the rest"
	partRuntime = "go scheduler"
	partGC      = "garbage collection"
	partOther   = "other"
)

// PartNames lists the parts in the order in which a backup meets them.
func PartNames() []string {
	return []string{
		partConnect, partKeys, partLogin, partCipher, partRead, partProve, partDigest, partCollect,
		partPublish, partState, partNATS, partRedis, partLog, partMetrics, partWorker, partRuntime, partGC, partOther,
	}
}

// Shares is what share of the CPU time each part has; together they are 1. Nil where the profile is empty.
func Shares(stacks []Stack) map[string]float64 {
	out, sum := map[string]float64{}, 0.0
	for _, s := range stacks {
		out[partOf(s.Functions)] += float64(s.Value)
		sum += float64(s.Value)
	}
	if sum == 0 {
		return nil
	}
	for name := range out {
		out[name] /= sum
	}
	return out
}

func partOf(functions []string) string {
	for _, p := range parts {
		fits := true
		for _, prefix := range p.prefixes {
			fits = fits && slices.ContainsFunc(functions, func(f string) bool { return strings.HasPrefix(f, prefix) })
		}
		if fits {
			return p.name
		}
	}
	return partOther
}
