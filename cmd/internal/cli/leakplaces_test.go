package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/embedded"
)

// places gathers every place that is to hold no secret, by name.
func (h *leakHouse) places() map[string][]byte {
	h.Helper()
	out := map[string][]byte{"commands of Redis": []byte(h.monitor.String())}
	h.gatherRedis(out)
	h.gatherStreams(out)
	for _, command := range []string{
		"settings check", "settings check -o json", "status", "status -o json", "inventory list", "inventory list -o json", "inventory check",
		"hostkey list", "hostkey list -o json", "hostkey export", "site list", "site list -o json", "stale", "changes", "archive stats", "archive quarantine",
		"log " + leakRefused, "show " + h.good[0], "show " + h.good[0] + " --raw", "diff " + h.good[0], "backup " + leakRefused + " --wait -o json",
	} {
		h.run(strings.Fields(command)...)
	}
	h.run("export", "--all", "--out", filepath.Join(h.dir, "exported"))
	out["commands"] = []byte(h.output.String())
	for role, p := range h.processes {
		out["log of "+role] = []byte(p.errOut.String())
		h.gatherPages(out, role, p)
		h.gatherProc(out, role, p.cmd.Process.Pid)
	}
	if h.redis.PID() > 0 {
		h.gatherProc(out, "redis-server", h.redis.PID())
	}
	return out
}

func (h *leakHouse) gatherRedis(out map[string][]byte) {
	h.Helper()
	ctx := h.Context()
	keys, err := h.client.Keys(ctx, "*").Result()
	h.check(err)
	var b bytes.Buffer
	for _, key := range keys {
		kind, err := h.client.Type(ctx, key).Result()
		h.check(err)
		var value any
		switch kind {
		case "string":
			value, err = h.client.Get(ctx, key).Result()
		case "hash":
			value, err = h.client.HGetAll(ctx, key).Result()
		case "list":
			value, err = h.client.LRange(ctx, key, 0, -1).Result()
		case "set":
			value, err = h.client.SMembers(ctx, key).Result()
		case "zset":
			value, err = h.client.ZRangeWithScores(ctx, key, 0, -1).Result()
		case "none": // it expired
		default:
			h.Fatalf("%s is a %s, which nobody looks into", key, kind)
		}
		if err != nil && err != redis.Nil { //nolint:errorlint // go-redis never wraps it
			h.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %v\n", key, value)
		if h.redis.Kind() == embedded.RedisServer {
			dump, _ := h.client.Dump(ctx, key).Result() // empty where it expired
			b.WriteString(dump)
		}
	}
	out["keys of Redis"] = b.Bytes()
}

// gatherStreams reads every message of every stream, and so every key of every bucket.
func (h *leakHouse) gatherStreams(out map[string][]byte) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), eventTimeout)
	defer cancel()
	nc, err := nats.Connect(h.nats.URL().Reveal())
	h.check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	h.check(err)
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		var b bytes.Buffer
		s, err := js.Stream(ctx, name)
		h.check(err)
		for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				continue // removed
			}
			fmt.Fprintf(&b, "%s %v\n", m.Subject, m.Header)
			b.Write(unpacked(m.Data))
		}
		out["stream "+name] = b.Bytes()
	}
	h.check(names.Err())
}

var listening = regexp.MustCompile(`"?address"?[=:]"?(127\.0\.0\.1:\d+)`)

func (h *leakHouse) gatherPages(out map[string][]byte, role string, p *process) {
	h.Helper()
	address := listening.FindStringSubmatch(p.errOut.String())
	if address == nil {
		h.Fatalf("%s does not say where it listens: %s", role, p.errOut)
	}
	pages := []string{"/metrics", "/readyz", "/healthz"}
	if role == "dashboard" {
		pages = append(pages, "/", "/queues", "/queues/api/queues", "/queues/api/servers", "/queues/api/redis_info")
		for _, site := range []string{"riga", "oslo"} {
			for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
				pages = append(pages, "/queues/api/queues/"+site+"/"+state+"_tasks")
			}
		}
	}
	client := &http.Client{Timeout: eventTimeout}
	for _, page := range pages {
		r, err := client.Get("http://" + address[1] + page)
		h.check(err)
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		h.check(err)
		out[role+page] = b
	}
}

// gatherProc reads what every user of the machine, and what the same one, can see of a process.
func (h *leakHouse) gatherProc(out map[string][]byte, role string, pid int) {
	h.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	for _, file := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		h.check(err)
		if role == "worker" {
			for _, given := range h.workerEnv { // where the operator put it
				b = bytes.ReplaceAll(b, []byte(given), nil)
			}
		}
		out[role+"'s "+file] = b
	}
}
