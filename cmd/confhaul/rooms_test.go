package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/confhaul/confhaul/"

// rooms is the table of the design: what each package may import of ours, tests aside. A package that is not listed fails.
var rooms = map[string][]string{
	"pkg/fault": nouns, "pkg/secret": nouns, "pkg/device": nouns, "pkg/backup": nouns,

	"pkg/access": {"pkg/secret", "pkg/transport"}, "pkg/transport": {"pkg/secret"}, "pkg/transport/transporttest": {"pkg/transport"},
	"pkg/settings": append([]string{"pkg/transport"}, nouns...), "pkg/queue": append([]string{"pkg/transport"}, nouns...),
	"pkg/natsio": append([]string{"pkg/transport"}, nouns...), "pkg/inventory": nouns, "pkg/sshclient": nouns, "pkg/routeros": nouns,
	"pkg/telemetry": nouns, "pkg/filelock": {}, "pkg/delta": {},
	"pkg/stream": append([]string{"pkg/natsio", "pkg/delta"}, nouns...), "pkg/state": append([]string{"pkg/natsio"}, nouns...),

	"pkg/archive":             append([]string{"pkg/routeros", "pkg/filelock", "pkg/delta"}, nouns...),
	"pkg/archive/archivetest": append([]string{"pkg/archive", "pkg/routeros"}, nouns...),
	"pkg/mirror":              append([]string{"pkg/archive", "pkg/filelock"}, nouns...),

	"scheduler": nouns, "worker": nouns, "pkg/dashboard": nouns,
	"pkg/collect":  append([]string{"pkg/sshclient", "pkg/routeros"}, nouns...),
	"pkg/archiver": append([]string{"pkg/archive", "pkg/routeros"}, nouns...), // archive for its records: the store itself is an interface that it declares

	"pkg/embedded": append([]string{"pkg/filelock"}, nouns...), "pkg/routersim": nouns,
	"pkg/pacetest":              nouns,
	"pkg/embedded/embeddedtest": append([]string{"pkg/embedded", "pkg/transport", "pkg/transport/transporttest"}, nouns...),
	"pkg/sshclient/sshtest":     nouns,
	"pkg/natsio/natsiotest":     append([]string{"pkg/natsio"}, nouns...),

	"pkg/chaos": append([]string{"pkg/routersim"}, nouns...), "cmd/chaos": {"pkg/chaos"},
	"pkg/bench": append([]string{"pkg/routersim"}, nouns...),

	"cmd/internal/app": nil, "cmd/internal/cli": nil, "cmd/confhaul": {"cmd/internal/cli"}, // nil: everything but test helpers
}

var nouns = []string{"pkg/device", "pkg/backup", "pkg/fault", "pkg/secret"}

// owners names the only packages that may import a protocol's library.
var owners = map[string][]string{
	"github.com/hibiken/asynq":                 {"pkg/queue"},
	"github.com/hibiken/asynqmon":              {"pkg/queue"},
	"github.com/redis/go-redis/v9":             {"pkg/queue", "pkg/embedded"},
	"golang.org/x/crypto/ssh":                  {"pkg/sshclient", "pkg/routersim", "pkg/sshclient/sshtest", "pkg/bench"}, // bench: the bare loop
	"golang.org/x/crypto/ssh/knownhosts":       {"pkg/sshclient"},
	"github.com/pkg/sftp":                      {"pkg/sshclient", "pkg/routersim"},
	"github.com/nats-io/nkeys":                 {"pkg/natsio", "pkg/access"},
	"github.com/nats-io/nats.go":               {"pkg/natsio", "pkg/state", "pkg/stream", "pkg/chaos"}, // chaos: a plain consumer, as the second opinion
	"github.com/nats-io/nats.go/jetstream":     {"pkg/natsio", "pkg/state", "pkg/stream", "pkg/chaos", "pkg/natsio/natsiotest"},
	"github.com/nats-io/nats-server/v2/server": {"pkg/embedded", "pkg/natsio/natsiotest"},
	"github.com/alicebob/miniredis/v2":         {"pkg/embedded"},
	"golang.org/x/perf/benchmath":              {"pkg/bench"},
	"modernc.org/sqlite":                       {"pkg/archive"},
	"modernc.org/sqlite/lib":                   {"pkg/archive"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Doc        string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// breaches lists every import that the table forbids.
func breaches(all []listed) []string {
	var out []string
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := rooms[name]
		if !known {
			out = append(out, name+" has no room in the table")
			continue
		}
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			switch {
			case isOurs && strings.HasSuffix(ours, "test"):
				if !strings.HasSuffix(name, "test") {
					out = append(out, name+" ships the test helper "+ours)
				}
			case isOurs && allowed != nil && !slices.Contains(allowed, ours):
				out = append(out, name+" must not import "+ours)
			case !isOurs && owners[imported] != nil && !slices.Contains(owners[imported], name):
				out = append(out, name+" must not import "+imported)
			}
		}
	}
	return out
}

func TestRooms(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for _, b := range breaches(all) {
		t.Error(b)
	}
	for _, p := range all {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestRoomsGoRed proves that the table holds stages apart.
func TestRoomsGoRed(t *testing.T) {
	t.Parallel()
	for _, p := range []listed{
		{ImportPath: module + "scheduler", Imports: []string{module + "worker"}},
		{ImportPath: module + "worker", Imports: []string{module + "scheduler"}},
		{ImportPath: module + "worker", Imports: []string{module + "pkg/queue"}},
		{ImportPath: module + "worker", Imports: []string{"github.com/hibiken/asynq"}},
		{ImportPath: module + "pkg/queue", Imports: []string{module + "pkg/embedded/embeddedtest"}},
		{ImportPath: module + "pkg/unknown"},
	} {
		if len(breaches([]listed{p})) != 1 {
			t.Errorf("%s importing %v passes", p.ImportPath, p.Imports)
		}
	}
}
