package stream_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/stream"
)

const megabyte = 1 << 20

type bench struct {
	*stream.Stream
	t    *testing.T
	srv  *natsiotest.Server
	conn *natsio.Conn
}

func open(t *testing.T, o stream.Options, change ...func(*server.Options)) *bench {
	t.Helper()
	srv := natsiotest.StartServer(t, change...)
	b := &bench{t: t, srv: srv, conn: natsiotest.Connect(t, srv)}
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = 64 * megabyte
	}
	o.EventBytes = megabyte
	var err error
	if b.Stream, err = stream.Open(natsiotest.Within(t), b.conn, o); err != nil {
		t.Fatal(err)
	}
	return b
}

// snap makes a snapshot of the device r:1 that was collected at a minute.
func snap(text string, minute int) backup.Snapshot {
	sum := sha256.Sum256([]byte(text))
	return backup.Snapshot{
		V: backup.EventVersion, DeviceID: "r:1", Site: "berlin", TenantID: "default", Normalization: 1, Complete: true,
		ConfigText: text, SHA256Hash: hex.EncodeToString(sum[:]), CollectedAt: time.Unix(0, 0).UTC().Add(time.Duration(minute) * time.Minute),
	}
}

func (b *bench) publish(s backup.Snapshot, expected uint64) uint64 {
	b.t.Helper()
	seq, err := b.PublishSnapshot(natsiotest.Within(b.t), s, []byte("raw "+s.ConfigText), expected)
	if err != nil {
		b.t.Fatal(err)
	}
	return seq
}

// messages counts what is on the stream.
func (b *bench) messages() uint64 {
	b.t.Helper()
	s, err := b.conn.JetStream().Stream(natsiotest.Within(b.t), stream.SnapshotStream)
	if err != nil {
		b.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func (b *bench) last() (backup.Snapshot, uint64) {
	b.t.Helper()
	s, seq, found, err := b.Last(natsiotest.Within(b.t), "berlin", "r:1")
	if err != nil || !found {
		b.t.Fatalf("no last snapshot: %v", err)
	}
	return s, seq
}

func TestPublishAndLast(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	if _, seq, found, err := b.Last(natsiotest.Within(t), "berlin", "r:1"); found || seq != 0 || err != nil {
		t.Fatalf("nothing there: %d, %v, %v", seq, found, err)
	}
	sent := snap("a", 1)
	sent.Proof = "twice"
	seq := b.publish(sent, 0)
	got, last := b.last()
	if last != seq || got.ConfigText != "a" || got.DeviceID != "r:1" || got.Proof != "twice" {
		t.Errorf("got %+v at %d, want the published one at %d", got, last, seq)
	}
	if raw, err := stream.OpenRaw(got); err != nil || string(raw) != "raw a" {
		t.Errorf("raw text: %q, %v", raw, err)
	}
	m, err := b.conn.JetStream().Stream(natsiotest.Within(t), stream.SnapshotStream)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := m.GetMsg(natsiotest.Within(t), seq); err != nil || raw.Subject != "config.snapshot.create.berlin.r=3A1" {
		t.Errorf("subject %v, %v", raw, err)
	}
}

func TestLostAckIsNoSecondMessage(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	first := b.publish(snap("a", 1), 0)
	if again := b.publish(snap("a", 1), 0); again != first {
		t.Errorf("repeat of the first: %d, want %d", again, first)
	}
	second := b.publish(snap("b", 2), first)
	if again := b.publish(snap("b", 2), first); again != second {
		t.Errorf("repeat of the second: %d, want %d", again, second)
	}
	if n := b.messages(); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

func TestReturnToAnOlderConfigurationIsAMessage(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	a := b.publish(snap("a", 1), 0)
	ab := b.publish(snap("b", 2), a)
	b.publish(snap("a", 3), ab)
	if n := b.messages(); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
}

func TestOutdatedWriter(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	b.publish(snap("old", 1), 0)
	newer := b.publish(snap("new", 9), 1)
	_, err := b.PublishSnapshot(natsiotest.Within(t), snap("mine", 5), nil, 1)
	if !errors.Is(err, backup.ErrStale) || fault.KindOf(err) != fault.Infrastructure {
		t.Errorf("older than the last: %v, want stale", err)
	}
	for name, expected := range map[string]uint64{"thinks it is the first": 0, "missed the last": 1, "knows of one that is gone": 77} {
		if seq := b.publish(snap(name, 10), expected); seq <= newer {
			t.Errorf("%s: sequence %d", name, seq)
		}
	}
	if got, _ := b.last(); got.CollectedAt.Minute() != 10 {
		t.Errorf("last is %+v", got)
	}
}

func TestPublishAfterThePurgeOfAll(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	seq := b.publish(snap("a", 1), 0)
	s, err := b.conn.JetStream().Stream(natsiotest.Within(t), stream.SnapshotStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(natsiotest.Within(t)); err != nil {
		t.Fatal(err)
	}
	if next := b.publish(snap("b", 2), seq); next <= seq {
		t.Errorf("sequence %d after %d", next, seq)
	}
}

func TestDuplicateOfAnOlderMessageIsAnError(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	s := snap("a", 3)
	ctx, js := natsiotest.Within(t), b.conn.JetStream()
	// Ids that a lost and restored stream could hold: ours, at a sequence before the last.
	for i, id := range []string{fmt.Sprintf("%s:2:%s", s.DeviceID, s.SHA256Hash), "other"} {
		if _, err := js.Publish(ctx, "config.snapshot.create.berlin.r=3A1", []byte("{}"), jetstream.WithMsgID(id)); err != nil {
			t.Fatal(i, err)
		}
	}
	if seq, err := b.PublishSnapshot(ctx, s, nil, 2); fault.KindOf(err) != fault.Internal {
		t.Errorf("got %d, %v, want a fault of ours", seq, err)
	}
}

func TestLimitPerSubjectDropsTheOldest(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{PerSubject: 2})
	var seq uint64
	for i := range 5 {
		seq = b.publish(snap(fmt.Sprint(i), i), seq)
	}
	other := snap("x", 1)
	other.DeviceID = "r2"
	b.publish(other, 0)
	if n := b.messages(); n != 3 {
		t.Errorf("%d messages, want 2 of one device and 1 of the other", n)
	}
	if got, last := b.last(); last != seq || got.ConfigText != "4" {
		t.Errorf("last is %q at %d", got.ConfigText, last)
	}
}

func TestFullStreamRefusesAndLosesNothing(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{SnapshotBytes: 64 << 10, PerSubject: 100})
	var (
		seq uint64
		err error
	)
	stored := 0
	for i := 0; err == nil && i < 100; i++ {
		var next uint64
		if next, err = b.PublishSnapshot(natsiotest.Within(t), snap(noise(8<<10, i), i), nil, seq); err == nil {
			seq = next
			stored++
		}
	}
	if fault.KindOf(err) != fault.Infrastructure || !strings.Contains(err.Error(), "maximum bytes exceeded") {
		t.Fatalf("after %d: %v, want that the stream is full", stored, err)
	}
	if n := b.messages(); n != uint64(stored) || stored == 0 {
		t.Errorf("%d messages, want %d", n, stored)
	}
	if _, last := b.last(); last != seq {
		t.Errorf("last is %d, want %d", last, seq)
	}
	// A second Open with more room ends it.
	if b.Stream, err = stream.Open(natsiotest.Within(t), b.conn, stream.Options{SnapshotBytes: megabyte, EventBytes: megabyte}); err != nil {
		t.Fatal(err)
	}
	b.publish(snap("fits again", 200), seq)
}

// noise is text that does not compress.
func noise(size, seed int) string {
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	b := make([]byte, size/2)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return hex.EncodeToString(b)
}

func TestLargeSnapshotGoesToTheObjectStore(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	text := noise(300<<10, 1)
	small := b.publish(snap("small", 1), 0)
	large := b.publish(snap(text, 2), small)
	objects, err := b.conn.JetStream().ObjectStore(natsiotest.Within(t), stream.LargeBucket)
	if err != nil {
		t.Fatal(err)
	}
	before, err := objects.List(natsiotest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if again := b.publish(snap(text, 2), small); again != large {
		t.Errorf("repeat: %d, want %d", again, large)
	}
	got, last := b.last()
	if last != large || got.ConfigText != text || got.Object == "" {
		t.Errorf("last is %d with %d bytes and object %q", last, len(got.ConfigText), got.Object)
	}
	if raw, err := stream.OpenRaw(got); err != nil || string(raw) != "raw "+text {
		t.Errorf("raw text: %d bytes, %v", len(raw), err)
	}
	s, err := b.conn.JetStream().Stream(natsiotest.Within(t), stream.SnapshotStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(natsiotest.Within(t), large)
	if err != nil || m.Subject != "config.snapshot.large.berlin.r=3A1" || bytes.Contains(m.Data, []byte(text[:100])) {
		t.Errorf("on the stream: %v, %v", m, err)
	}
	// The one order of both subjects: back to the small one, by a writer that knows only of the first.
	b.publish(snap("small", 3), small)
	if n := b.messages(); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
	// Writing it again would take the text from under whoever reads it.
	if after, err := objects.List(natsiotest.Within(t)); err != nil || len(after) != 1 || len(before) != 1 || after[0].NUID != before[0].NUID {
		t.Errorf("objects %v before, %v after the repeat, %v", before, after, err)
	}
}

func TestFullObjectStoreIsInfrastructure(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{SnapshotBytes: 128 << 10}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	_, err := b.PublishSnapshot(natsiotest.Within(t), snap(noise(300<<10, 1), 1), nil, 0)
	if fault.KindOf(err) != fault.Infrastructure {
		t.Errorf("got %v", err)
	}
	if n := b.messages(); n != 0 {
		t.Errorf("%d messages tell of an object that is not there", n)
	}
}

func TestPublishDuringAnOutage(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	b.srv.Stop()
	if _, err := b.PublishSnapshot(natsiotest.Within(t), snap("a", 1), nil, 0); fault.KindOf(err) != fault.Infrastructure {
		t.Errorf("snapshot: %v", err)
	}
	if err := b.PublishEvent(natsiotest.Within(t), backup.Event{Type: backup.EventFailed, DeviceID: "r1", Site: "berlin"}); fault.KindOf(err) != fault.Infrastructure {
		t.Errorf("event: %v", err)
	}
	b.srv.Start()
	for err := errors.New("not yet"); err != nil; {
		_, err = b.PublishSnapshot(natsiotest.Within(t), snap("a", 1), nil, 0)
		if err != nil && fault.KindOf(err) != fault.Infrastructure {
			t.Fatal(err)
		}
	}
	if n := b.messages(); n != 1 {
		t.Errorf("%d messages, want 1: nothing of the outage may come late", n)
	}
}

func TestWhatCannotTravelIsOurFault(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	if _, err := b.PublishSnapshot(natsiotest.Within(t), snap("\xff", 1), nil, 0); fault.KindOf(err) != fault.Internal {
		t.Errorf("text that is not UTF-8: %v", err)
	}
	if err := b.PublishEvent(natsiotest.Within(t), backup.Event{Type: "a.b", DeviceID: "r1"}); fault.KindOf(err) != fault.Internal {
		t.Errorf("event of no type: %v", err)
	}
	if _, err := stream.Open(natsiotest.Within(t), b.conn, stream.Options{}); fault.KindOf(err) != fault.Internal {
		t.Errorf("streams without bounds: %v", err)
	}
}
