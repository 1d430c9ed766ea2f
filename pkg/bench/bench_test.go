package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/telemetry"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"5000": 5000, "100KB": 100_000, "2MB": 2_000_000, "64KiB": 65536, "1.5 MiB": 1572864, "10B": 10,
		"": 0, "KB": 0, "-1KB": 0, "0": 0, "1GB": 0, "NaN": 0, "1e30": 0, "100kb": 0,
	} {
		got, err := ParseSize(text)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	good := Load{Devices: 100, Size: 10_000, Sessions: 10, Sites: 3}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for want, l := range map[string]Load{
		"--devices":  {Size: 10_000, Sessions: 1, Sites: 1},
		"--size":     {Devices: 1, Sessions: 1, Sites: 1},
		"--sessions": {Devices: 1, Size: 10_000, Sites: 1},
		"--sites 2":  {Devices: 1, Size: 10_000, Sessions: 1, Sites: 2},
		"--delay 1m": {Devices: 1, Size: 10_000, Sessions: 1, Sites: 1, DelayS: 60},
	} {
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", l, err, want)
		}
	}
	if names := good.SiteNames(); !slices.Equal(names, []string{"site-001", "site-002", "site-003"}) {
		t.Errorf("sites: %v", names)
	}
	if n := (Load{Devices: 5, Sessions: 9}).AtOnce(); n != 5 {
		t.Errorf("%d at once of 5 devices", n)
	}
}

func TestNewSample(t *testing.T) {
	t.Parallel()
	for want, values := range map[float64][]float64{0: nil, 3: {3}, 2.5: {4, 1}, 2: {9, 2, 1}} {
		s := NewSample(values)
		if s.Median != want || len(s.Values) != len(values) {
			t.Errorf("%v: %+v, want a median of %v", values, s, want)
		}
		if len(values) > 0 && (s.Min != slices.Min(values) || s.Max != slices.Max(values) || !slices.Equal(s.Values, values)) {
			t.Errorf("%v: %+v", values, s)
		}
	}
}

// TestFill: every figure of a report from two runs.
func TestFill(t *testing.T) {
	t.Parallel()
	sweep := func(cpu, drain time.Duration) Sweep {
		return Sweep{
			Devices: 10, CPU: cpu, Drain: drain, Idle: 10e6, Peak: 12e6, Mallocs: 50, AllocBytes: 20e3, Bytes: 30e3, Ask: time.Second,
			Redis: 5 * time.Millisecond, Stages: map[string]StageTimes{"dial": {P50: 1, P99: 2}}, Simulator: 5 * time.Millisecond,
			Machine: Machine{All: 100 * time.Millisecond, Idle: 25 * time.Millisecond},
		}
	}
	runs := []Run{
		{KindBare: sweep(10*time.Millisecond, time.Second), KindFirst: sweep(20*time.Millisecond, 2*time.Second), KindUnchanged: sweep(15*time.Millisecond, time.Second)},
		{KindBare: sweep(20*time.Millisecond, time.Second), KindFirst: sweep(60*time.Millisecond, 4*time.Second), KindUnchanged: sweep(26*time.Millisecond, time.Second)},
	}
	r := Report{Load: Load{Devices: 10, Sessions: 4, Sites: 1, Size: 3000}}
	r.Fill(runs, map[Kind]map[string]float64{KindBare: {partKeys: 0.5}, KindFirst: nil})
	want := map[string]float64{
		"bare_cpu_ms": 1.5, "cpu_ratio": 1.4, "cpu_ratio_first": 2.5, "rate_ratio": 1,
		"bare mallocs": 5, "bare session_kb": 500, "first devices_per_s": 3.75, "unchanged redis_tasks_per_s": 2000, "bare parts": 750,
		"unchanged dial p99": 2, "unchanged export_kb": 3, "unchanged asks_per_s": 10, "first others_pct": 25, "bare idle_pct": 25,
	}
	got := map[string]float64{
		"bare_cpu_ms": r.BareCPUms, "cpu_ratio": r.CPURatio, "cpu_ratio_first": r.CPURatioFirst, "rate_ratio": r.RateRatio,
		"bare mallocs": r.Sweeps[KindBare]["mallocs"].Median, "bare session_kb": r.Sweeps[KindBare]["session_kb"].Median,
		"first others_pct":            r.Sweeps[KindFirst]["others_pct"].Median,
		"bare idle_pct":               r.Sweeps[KindBare]["idle_pct"].Median,
		"first devices_per_s":         r.Sweeps[KindFirst]["devices_per_s"].Median,
		"unchanged redis_tasks_per_s": r.Sweeps[KindUnchanged]["redis_tasks_per_s"].Median,
		"unchanged export_kb":         r.Sweeps[KindUnchanged]["export_kb"].Median,
		"unchanged asks_per_s":        r.Sweeps[KindUnchanged]["asks_per_s"].Median,
		"bare parts":                  r.Parts[KindBare][partKeys], "unchanged dial p99": r.Stages[KindUnchanged]["dial"].P99.Median,
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s: %v, want %v", name, got[name], v)
		}
	}
	if _, has := r.Sweeps[KindBare]["redis_cpu_ms"]; has {
		t.Error("the bare loop has a Redis")
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadReport(bytes.NewReader(b))
	if err != nil || again.CPURatio != 1.4 || again.Sweeps[KindFirst]["cpu_ms"].Max != 6 {
		t.Errorf("read again: %+v, %v", again, err)
	}
}

func TestReadReportRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{}", "[]", `{"v":99,"runs":3}`, "BenchmarkX 1 2 ns/op"} {
		if _, err := ReadReport(strings.NewReader(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
	l := Load{Devices: 10, Size: 10_000, Sessions: 1, Sites: 1}
	other := l
	other.Sessions = 2
	if SameLoad(l, l) != nil || SameLoad(other, l) == nil {
		t.Error("loads are not told apart")
	}
}

// TestCompare: what benchstat says of the same values.
func TestCompare(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		old, now   []float64
		delta      string
		p          float64
		notes      int
		test, from string
	}{
		"faster":       {[]float64{1.5, 1.6, 1.55, 1.52, 1.58, 1.57}, []float64{1.2, 1.21, 1.22, 1.19, 1.2, 1.23}, "-22.76%", 0.0022, 0, "p=0.002 n=6", "4%"},
		"no different": {[]float64{1, 2, 3, 4, 5, 6}, []float64{1.1, 2.1, 2.9, 4.1, 5.1, 5.9}, "~", 0.9372, 0, "p=0.937 n=6", "71%"},
		"too few":      {[]float64{1, 1.1, 1.2}, []float64{2, 2.1, 2.2}, "~", 0.1, 2, "p=0.100 n=3", "∞"},
		"all equal":    {[]float64{1, 1, 1, 1, 1, 1}, []float64{1, 1, 1, 1, 1, 1}, "~", 1, 1, "p=1.000 n=6", "0%"},
	} {
		c := compare(name, tc.old, tc.now)
		if c.Delta != tc.delta || c.P != tc.p || len(c.Notes) != tc.notes || c.Test != tc.test || c.OldSpread != tc.from {
			t.Errorf("%s: %+v", name, c)
		}
	}
	a, b := Report{}, Report{}
	a.Fill([]Run{{KindBare: {Devices: 1, CPU: 1e6}}}, nil)
	b.Fill([]Run{{KindBare: {Devices: 1, CPU: 2e6}}}, nil)
	all := Compare(a, b)
	i := slices.IndexFunc(all, func(c Compared) bool { return c.Name == "bare cpu_ms" })
	if i < 0 || all[i].Old != 1 || all[i].New != 2 {
		t.Errorf("got %+v", all)
	}
}

// TestScrape reads the metrics of a process of ours.
func TestScrape(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	s := telemetry.NewServer(telemetry.NewReady(), m)
	if err := s.Listen(t.Context(), "127.0.0.1:0", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop(context.Background()) }()
	m.StageDone("dial", time.Hour)
	before, err := Scrape(t.Context(), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for range 98 {
		m.StageDone("dial", 700*time.Microsecond) // in the bucket from 0.5 to 1 ms
	}
	m.StageDone("dial", time.Hour)
	m.StageDone("dial", time.Hour)
	after, err := Scrape(t.Context(), s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	d := after.Since(before)
	stages := d.Stages()
	dial := stages["dial"]
	if want := 0.5 + 0.5*50/98; len(stages) != 1 || math.Abs(dial.P50-want) > 1e-9 || dial.P99 != 300_000 {
		t.Errorf("got %+v, want a median of %v and at most what the last bucket has", stages, want)
	}
	if n := d["go_memstats_mallocs_total"]; n <= 0 || n > after["go_memstats_mallocs_total"] {
		t.Errorf("%v allocations between two scrapes", n)
	}
	if _, err := ReadMetrics(strings.NewReader("name\n")); err == nil {
		t.Error("a line without a value passes")
	}
}

// TestReadProfile reads what the runtime writes, of goroutines: a profile of the CPU has the same shape.
func TestReadProfile(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 0); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	stacks, err := ReadProfile(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(stacks, func(s Stack) bool {
		return slices.ContainsFunc(s.Functions, func(f string) bool { return strings.HasSuffix(f, "pkg/bench.TestReadProfile") })
	})
	if i < 0 || stacks[i].Value != 1 {
		t.Fatalf("this test is in none of %d stacks", len(stacks))
	}
	f := stacks[i].Functions
	if !strings.HasPrefix(f[0], "runtime.") || f[len(f)-1] != "testing.tRunner" {
		t.Errorf("the innermost function is not first: %v", f)
	}
	for _, broken := range [][]byte{nil, whole[:len(whole)/2], []byte("no gzip")} {
		if _, err := ReadProfile(bytes.NewReader(broken)); err == nil {
			t.Errorf("%d broken bytes pass", len(broken))
		}
	}
	if Shares(nil) != nil {
		t.Error("an empty profile has shares")
	}
}

// TestShares: what belongs to which part.
func TestShares(t *testing.T) {
	t.Parallel()
	const ssh = "golang.org/x/crypto/ssh."
	for want, stacks := range map[string][]string{
		partGC: {
			"runtime.scanObject runtime.gcDrain runtime.gcBgMarkWorker.func2 runtime.systemstack runtime.gcBgMarkWorker",
			"runtime.gcDrainN runtime.gcAssistAlloc1 runtime.gcAssistAlloc runtime.mallocgc github.com/confhaul/confhaul/pkg/stream.packRaw",
		},
		partKeys: {
			"crypto/ecdh.x25519ScalarMult " + ssh + "(*curve25519sha256).Client " + ssh + "(*handshakeTransport).client " + ssh + "(*handshakeTransport).enterKeyExchange",
		},
		partLogin:  {"runtime.futex " + ssh + "(*connection).clientAuthenticate " + ssh + "(*connection).clientHandshake " + ssh + "NewClientConn"},
		partCipher: {"crypto/internal/fips140/aes.ctrBlocks8Asm crypto/cipher.x " + ssh + "(*streamPacketCipher).readCipherPacket " + ssh + "(*mux).loop"},
		partRead: {
			"internal/runtime/syscall/linux.Syscall6 net.(*conn).Read github.com/confhaul/confhaul/pkg/sshclient.(*socket).Read bufio.(*Reader).Read " + ssh + "(*mux).loop",
			"github.com/confhaul/confhaul/pkg/sshclient.(*Conn).grow github.com/confhaul/confhaul/pkg/collect.(*attempt).fetch",
		},
		partConnect: {"syscall.connect net.(*Dialer).DialContext github.com/confhaul/confhaul/pkg/sshclient.connect"},
		partDigest:  {"crypto/sha256.Sum256 github.com/confhaul/confhaul/pkg/routeros.Digest github.com/confhaul/confhaul/pkg/collect.(*attempt).prove"},
		partCollect: {"runtime.newobject github.com/confhaul/confhaul/pkg/collect.(*attempt).run github.com/confhaul/confhaul/worker.(*run).collect"},
		partPublish: {"github.com/klauspost/compress/zstd.Encode github.com/confhaul/confhaul/pkg/stream.packRaw github.com/confhaul/confhaul/worker.(*run).publish"},
		partState:   {"encoding/json.Marshal github.com/nats-io/nats%2ego.x github.com/confhaul/confhaul/pkg/state.(*Store).PutState github.com/confhaul/confhaul/worker.(*run).put"},
		partNATS:    {"syscall.read github.com/nats-io/nats%2ego.(*Conn).readLoop"},
		partRedis:   {"syscall.write github.com/redis/go-redis/v9.(*Client).Process github.com/hibiken/asynq.(*processor).exec", "x github.com/hibiken/asynq.(*heartbeater).beat"},
		partWorker:  {"runtime.newobject github.com/confhaul/confhaul/worker.(*run).prepare github.com/confhaul/confhaul/worker.(*Worker).Run github.com/confhaul/confhaul/pkg/xqueue.y"},
		partRuntime: {"runtime.findRunnable runtime.schedule runtime.park_m runtime.mcall"},
		partOther:   {"main.main"},
	} {
		for _, s := range stacks {
			if got := partOf(strings.Fields(s)); got != want {
				t.Errorf("%s: got %q, want %q", s, got, want)
			}
		}
		if !slices.Contains(PartNames(), want) {
			t.Errorf("%q is not printed", want)
		}
	}
	shares := Shares([]Stack{{[]string{"main.main"}, 3}, {[]string{"runtime.mcall"}, 1}})
	if shares[partOther] != 0.75 || shares[partRuntime] != 0.25 {
		t.Errorf("got %v", shares)
	}
}
