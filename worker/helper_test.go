package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/collect"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/inventory"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/state"
	"github.com/confhaul/confhaul/pkg/stream"
	"github.com/confhaul/confhaul/pkg/telemetry"
)

const (
	// patience bounds every wait of these tests; a test that needs it has failed.
	patience      = 20 * time.Second
	testUser      = "backup"
	firstPassword = "sesame-4711"
	otherPassword = "sesame-4712"
	testSite      = "riga"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines left behind:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// leaked gives the goroutines of the worker or of its sessions that do not end by themselves.
func leaked() string {
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = nil
		for _, g := range strings.Split(string(buf), "\n\n")[1:] { // the first is this one
			if strings.Contains(g, "/worker.") || strings.Contains(g, "/sshclient.") || strings.Contains(g, "crypto/ssh.") {
				left = append(left, g)
			}
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}

// logBook keeps what is logged.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// house is all that a worker works with, real, and one simulated router.
type house struct {
	*testing.T
	natsOptions embedded.NATSOptions
	nats        *embedded.NATS
	conn        *natsio.Conn
	store       *state.Store
	stream      *stream.Stream
	fleet       *routersim.Fleet
	router      *routersim.Router
	dev         device.Device
	key         string
	password    string // file
	credentials *inventory.CredentialStore
	log         logBook
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, natsOptions: embedded.NATSOptions{Dir: t.TempDir(), Token: embeddedtest.Token()}}
	h.startNATS()
	t.Cleanup(func() {
		if err := h.nats.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx := h.within()
	var err error
	if h.conn, err = natsio.Connect(ctx, natsio.Options{URL: h.nats.URL(), Name: t.Name()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.conn.Close)
	if h.store, err = state.Open(ctx, h.conn, state.Options{}); err != nil {
		t.Fatal(err)
	}
	if h.stream, err = stream.Open(ctx, h.conn, stream.Options{SnapshotBytes: 64 << 20, EventBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	h.startRouter(ctx)
	h.writeCredentials()
	t.Cleanup(h.noSecret)
	return h
}

// startNATS starts the server, the second time with what it held before.
func (h *house) startNATS() {
	h.Helper()
	var err error
	if h.nats, err = embedded.StartNATS(h.within(), h.natsOptions); err != nil {
		h.Fatal(err)
	}
}

func (h *house) startRouter(ctx context.Context) {
	h.Helper()
	f, err := routersim.Start(context.WithoutCancel(ctx), routersim.Options{
		Devices: 1, Seed: 7, Sites: []string{testSite}, Versions: []string{"7.20.2"}, Username: testUser, Password: secret.New(firstPassword),
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := f.Close(); err != nil {
			h.Error(err)
		}
	})
	h.fleet, h.router, h.dev = f, f.Routers()[0], f.Devices("routers")[0]
	h.key = h.dev.Key()
	if err := h.store.PutDevice(ctx, h.dev); err != nil {
		h.Fatal(err)
	}
}

// anotherRouter starts a second one of a fleet of its own.
func (h *house) anotherRouter() *routersim.Router {
	h.Helper()
	f, err := routersim.Start(context.WithoutCancel(h.Context()), routersim.Options{
		Devices: 1, Seed: 8, IDPrefix: "other-", Sites: []string{testSite}, Versions: []string{"7.20.2"}, Username: testUser, Password: secret.New(firstPassword),
	})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := f.Close(); err != nil {
			h.Error(err)
		}
	})
	return f.Routers()[0]
}

func jumpTo(d device.Device) device.Jump {
	return device.Jump{ID: d.ID, Site: d.Site, Address: d.Address, Port: d.Port, Credential: d.Credential}
}

// writeCredentials makes a credentials file whose password stands in a file of its own, so that a test can change it.
func (h *house) writeCredentials() {
	h.Helper()
	dir := h.TempDir()
	h.password = filepath.Join(dir, "password")
	h.setPassword(firstPassword)
	path := filepath.Join(dir, "credentials.yaml")
	text := "version_key: 0123456789abcdef\ncredentials:\n  routers: {username: " + testUser + ", password_file: password}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	var err error
	if h.credentials, err = inventory.NewCredentialStore(path); err != nil {
		h.Fatal(err)
	}
}

func (h *house) setPassword(value string) {
	h.Helper()
	if err := os.WriteFile(h.password, []byte(value), 0o600); err != nil {
		h.Fatal(err)
	}
}

func (h *house) setFault(f routersim.Fault) {
	h.Helper()
	if err := h.router.SetFault(f); err != nil {
		h.Fatal(err)
	}
}

// worker makes a worker over the house's parts.
func (h *house) worker(name string, change ...func(*Options)) *Worker {
	collector := collect.New(collect.Options{})
	h.Cleanup(collector.Close)
	o := Options{
		Store: state.NewLatest(h.store), Publisher: h.stream, Collector: collector, Credentials: h.credentials,
		Meter: telemetry.NewMetrics(), Log: slog.New(slog.NewTextHandler(&h.log, nil)),
		Name: name, Whole: patience, Ladder: backup.DefaultLadder(),
	}
	for _, f := range change {
		f(&o)
	}
	return New(o)
}

// within gives a context that outlives no test.
func (h *house) within() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.Context()), patience)
	h.Cleanup(cancel)
	return ctx
}

// due is a task whose slot no backup so far has done and that is not too early.
func (h *house) due() backup.Task {
	return backup.Task{Device: h.dev.ID, Slot: time.Now().Unix() + 1, Reason: backup.ReasonSlot}
}

func (h *house) run(w *Worker) (backup.Next, error) { return w.Run(h.within(), testSite, h.due()) }

// wantRun runs the due task and checks what follows; a delay may differ by the ladder's tenth and by the time that passed.
func (h *house) wantRun(w *Worker, want backup.Next, kind fault.Kind) error {
	h.Helper()
	next, err := h.run(w)
	h.wantNext(next, err, want, kind)
	return err
}

func (h *house) wantNext(next backup.Next, err error, want backup.Next, kind fault.Kind) {
	h.Helper()
	const passed = 3 * time.Second
	off := next.Delay - want.Delay
	if next.Action != want.Action || next.Counted != want.Counted || off > want.Delay/10 || off < -want.Delay/10-passed {
		h.Errorf("next is %+v, want %+v: %v", next, want, err)
	}
	if got := fault.KindOf(err); got != kind {
		h.Errorf("kind is %q, want %q: %v", got, kind, err)
	}
}

var (
	done = backup.Next{Action: backup.Done}
	stop = backup.Next{Action: backup.Stop}
	busy = backup.Next{Action: backup.Again, Delay: backup.BusyDelay}
	back = backup.Next{Action: backup.Again, Delay: backup.InfrastructureDelay}
)

// again is the ladder's n-th step.
func again(n int) backup.Next {
	return backup.Next{Action: backup.Again, Delay: backup.DefaultLadder()[n-1], Counted: true}
}

func (h *house) state() (backup.State, uint64) {
	h.Helper()
	s, revision, err := h.store.State(h.within(), h.key)
	if err != nil {
		h.Fatal(err)
	}
	return s, revision
}

// amend changes the state as somebody else does, by compare-and-set.
func (h *house) amend(change func(*backup.State)) {
	h.Helper()
	s, revision := h.state()
	change(&s)
	if _, err := h.store.PutState(h.within(), h.key, s, revision); err != nil {
		h.Fatal(err)
	}
}

// ask makes a request as a command does.
func (h *house) ask(force bool) backup.Request {
	h.Helper()
	_, revision := h.state()
	r := backup.Request{ID: "r", Since: revision, Force: force, By: "test", At: time.Now()}
	if _, err := h.store.PutRequest(h.within(), h.key, r); err != nil {
		h.Fatal(err)
	}
	return r
}

// messages reads everything that stands on a stream.
func (h *house) messages(name string) []*jetstream.RawStreamMsg {
	h.Helper()
	ctx := h.within()
	s, err := h.conn.JetStream().Stream(ctx, name)
	if err != nil {
		h.Fatal(err)
	}
	var out []*jetstream.RawStreamMsg
	for info := s.CachedInfo().State; uint64(len(out)) < info.Msgs; {
		m, err := s.GetMsg(ctx, nextSeq(out, info.FirstSeq), jetstream.WithGetMsgSubject(">"))
		if err != nil {
			h.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

func nextSeq(read []*jetstream.RawStreamMsg, first uint64) uint64 {
	if len(read) == 0 {
		return first
	}
	return read[len(read)-1].Sequence + 1
}

// snapshots reads the device's history; the sequences begin at 1 without gaps, for nothing else is on the stream.
func (h *house) snapshots() []backup.Snapshot {
	h.Helper()
	var out []backup.Snapshot
	for _, m := range h.messages(stream.SnapshotStream) {
		s, err := backup.DecodeSnapshot(m.Data)
		if err != nil {
			h.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (h *house) wantSnapshots(n int) []backup.Snapshot {
	h.Helper()
	out := h.snapshots()
	if len(out) != n {
		h.Fatalf("%d snapshots on the stream, want %d", len(out), n)
	}
	return out
}

// wantEvents checks the types of all events so far and returns the last one.
func (h *house) wantEvents(types ...backup.EventType) (last backup.Event) {
	h.Helper()
	var got []backup.EventType
	for _, m := range h.messages(stream.EventStream) {
		e, err := backup.DecodeEvent(m.Data)
		if err != nil {
			h.Fatal(err)
		}
		if want := "config.backup." + string(e.Type) + "." + h.key; m.Subject != want {
			h.Errorf("event on %s, want %s", m.Subject, want)
		}
		got, last = append(got, e.Type), e
	}
	if fmt.Sprint(got) != fmt.Sprint(types) {
		h.Errorf("events %v, want %v", got, types)
	}
	return last
}

// wantDials checks how often the router was dialled so far, by its own log, and returns the last session.
func (h *house) wantDials(n int) (last routersim.Session) {
	h.Helper()
	all := h.fleet.Sessions()
	if len(all) != n {
		h.Fatalf("the router saw %d connections, want %d", len(all), n)
	}
	if n > 0 {
		last = all[n-1]
	}
	return last
}

var routerSecret = regexp.MustCompile(`pw-[A-Z2-7]{14}`)

// noSecret looks for the login passwords in all that was stored, published and logged, and for the router's own secrets
// outside the snapshots. It is part of every test.
func (h *house) noSecret() {
	if h.Failed() {
		h.Log(h.log.String())
	}
	passwords := []string{firstPassword, otherPassword}
	theirs := append(routerSecret.FindAllString(h.router.Export(), -1), passwords...)
	if len(theirs) == len(passwords) {
		h.Error("the router's export holds no secrets: this check proves nothing")
	}
	check := func(where, text string, secrets []string) {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				h.Errorf("%s shows a secret: %q", where, text)
			}
		}
	}
	check("the log", h.log.String(), theirs)
	names := h.conn.JetStream().StreamNames(h.within())
	for name := range names.Name() {
		secrets := theirs
		if name == stream.SnapshotStream {
			secrets = passwords
		}
		for _, m := range h.messages(name) {
			check(m.Subject, fmt.Sprint(m.Subject, m.Header, string(m.Data)), secrets)
		}
	}
	if err := names.Err(); err != nil {
		h.Error(err)
	}
}
