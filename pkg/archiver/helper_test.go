package archiver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/state"
	"github.com/confhaul/confhaul/pkg/stream"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is longer than NATS waits for an acknowledgement.
const patience = stream.AckTimeout + natsiotest.Patience

const (
	testSite   = "berlin"
	testDevice = "r1"
)

// house is an archiver between a NATS server and an archive, both real.
type house struct {
	*testing.T
	nats     *natsiotest.Server
	conn     *natsio.Conn
	stream   *stream.Stream
	registry *state.Store
	store    *archive.SQLite
	log      *lockedText
	meter    *counts
	last     map[string]uint64 // sequence of each device's last snapshot
}

func newHouse(t *testing.T, change ...func(*server.Options)) *house {
	t.Helper()
	h := &house{T: t, nats: natsiotest.StartServer(t, change...), log: &lockedText{}, meter: &counts{n: map[string]int{}}, last: map[string]uint64{}}
	h.conn = natsiotest.Connect(t, h.nats)
	var err error
	if h.stream, err = stream.Open(h.within(), h.conn, stream.Options{SnapshotBytes: 64 << 20, EventBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if h.registry, err = state.Open(h.within(), h.conn, state.Options{}); err != nil {
		t.Fatal(err)
	}
	if h.store, err = archive.OpenSQLite(h.within(), t.TempDir(), archive.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(h.log)
		}
	})
	return h
}

func (h *house) within() context.Context { return natsiotest.Within(h.T) }

func (h *house) archiver(store Store) *Archiver {
	return New(Options{
		Source: h.stream, Store: store, Publisher: h.stream, Registry: h.registry, Meter: h.meter, Policy: archive.Policy{Removed: time.Hour},
		Health: func(error) {}, Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
}

// run runs an archiver until stop is called.
func (h *house) run(store Store) (stop func()) {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.archiver(store).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("the archiver ends with %v", err)
		}
	})
	h.Cleanup(stop)
	return stop
}

// snap is a snapshot of a device that was collected at a minute.
func snap(id, text string, minute int) backup.Snapshot {
	sum := sha256.Sum256([]byte(text))
	return backup.Snapshot{
		V: backup.EventVersion, DeviceID: id, Site: testSite, TenantID: "default", Name: "name of " + id, Normalization: 1, Complete: true, Proof: "marker",
		ConfigText: text, SHA256Hash: hex.EncodeToString(sum[:]), CollectedAt: time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC),
	}
}

func (h *house) publish(s backup.Snapshot) {
	h.Helper()
	key := device.Key(s.Site, s.DeviceID)
	h.eventually("the publish of "+key, func() bool {
		seq, err := h.stream.PublishSnapshot(h.within(), s, []byte("# raw\r\n"+s.ConfigText), h.last[key])
		if err == nil {
			h.last[key] = seq
		} else if fault.KindOf(err) != fault.Infrastructure {
			h.Fatal(err)
		}
		return err == nil
	})
}

// publishRaw puts any bytes on a subject.
func (h *house) publishRaw(subject string, s backup.Snapshot) {
	h.Helper()
	data, err := backup.EncodeEvent(s)
	if err != nil {
		h.Fatal(err)
	}
	if _, err := h.conn.JetStream().Publish(h.within(), subject, data); err != nil {
		h.Fatal(err)
	}
}

// eventually polls until ok.
func (h *house) eventually(what string, ok func() bool) {
	h.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			h.Fatalf("timed out waiting for %s", what)
		}
	}
}

// awaitTaken waits until nothing on the streams is left to take.
func (h *house) awaitTaken() {
	h.Helper()
	h.eventually("everything to be taken", h.taken)
}

func (h *house) taken() bool {
	b, err := h.stream.Backlog(h.within())
	return err == nil && b.Archiver && b.Pending == 0 && b.Events == 0
}

// texts are the normal forms of a device's versions, oldest first.
func (h *house) texts(id string) (out []string) {
	h.Helper()
	err := h.store.History(h.within(), id, func(_ archive.Version, text []byte) error {
		out = append(out, string(text))
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return out
}

// wantTexts wants these versions and an archive in order.
func (h *house) wantTexts(id string, want ...string) {
	h.Helper()
	if got := h.texts(id); fmt.Sprint(got) != fmt.Sprint(want) {
		h.Errorf("device %s has the versions %q, want %q", id, got, want)
	}
	v, err := h.store.Verify(h.within(), func(d archive.Damage) error { h.Errorf("damaged: %+v", d); return nil })
	if err != nil || v.Damaged > 0 {
		h.Errorf("verify: %+v, %v", v, err)
	}
}

// diffs reads the changes on the stream of events, as any consumer does.
func (h *house) diffs() (out []backup.Diff) {
	h.Helper()
	events, err := h.conn.JetStream().CreateConsumer(h.within(), stream.EventStream, jetstream.ConsumerConfig{
		FilterSubject: "config.diff.>", AckPolicy: jetstream.AckNonePolicy,
	})
	if err != nil {
		h.Fatal(err)
	}
	n := int(events.CachedInfo().NumPending)
	if n == 0 {
		return nil
	}
	batch, err := events.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		h.Fatal(err)
	}
	for m := range batch.Messages() {
		var d backup.Diff
		if err := json.Unmarshal(m.Data(), &d); err != nil {
			h.Fatal(err)
		}
		if want := "config.diff." + device.Key(d.Site, d.DeviceID); m.Subject() != want {
			h.Errorf("%s on %s", want, m.Subject())
		}
		out = append(out, d)
	}
	return out
}

// tap is the store with something that happens before each Put.
type tap struct {
	*archive.SQLite
	put func(n int) error
	n   int
}

func (s *tap) Put(ctx context.Context, snaps []archive.Snapshot) ([]archive.Result, error) {
	s.n++
	if err := s.put(s.n); err != nil {
		return nil, err
	}
	return s.SQLite.Put(ctx, snaps)
}

// counts is a Meter.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) Archived(status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[status]++
}

func (c *counts) of(status string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[status]
}

type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
