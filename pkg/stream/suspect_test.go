package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/stream"
)

func TestSuspect(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	ctx := natsiotest.Within(t)
	if _, _, found, err := b.Suspect(ctx, "berlin", "r:1"); err != nil || found {
		t.Fatalf("found %t, %v", found, err)
	}
	s := backup.Suspect{DeviceID: "r:1", Site: "berlin", At: time.Unix(1, 0).UTC(), Attempt: "a", Kind: fault.Incomplete, Reason: "cut"}
	for n := range 4 { // one per device is kept
		text := fmt.Appendf(nil, "# export %d\n/ip", n)
		if n == 1 {
			text = nil // the router said nothing
		}
		if err := b.PublishSuspect(ctx, s, text); err != nil {
			t.Fatal(err)
		}
		got, read, found, err := b.Suspect(ctx, "berlin", "r:1")
		if err != nil || !found || !bytes.Equal(read, text) {
			t.Fatalf("read %q, found %t, %v", read, found, err)
		}
		if got.Reason != "cut" || got.V != backup.EventVersion || got.Bytes != len(text) || !got.At.Equal(s.At) || got.Kind != s.Kind || got.Attempt != "a" {
			t.Errorf("suspect %+v", got)
		}
	}
	info, err := b.conn.JetStream().Stream(ctx, stream.SuspectStream)
	if err != nil || info.CachedInfo().State.Msgs != 1 {
		t.Errorf("%d messages, %v", info.CachedInfo().State.Msgs, err)
	}
	if _, _, found, err := b.Suspect(ctx, "berlin", "r:2"); err != nil || found {
		t.Errorf("another device: found %t, %v", found, err)
	}
	// Watchers of snapshots and events hear nothing of it.
	done := errors.New("heard")
	b.publish(snap("x", 1), 0)
	if err := b.Watch(ctx, func(m stream.Message) error {
		if m.Snapshot == nil {
			t.Errorf("heard %+v", m)
		}
		return done
	}); !errors.Is(err, done) {
		t.Error(err)
	}
}

// TestSuspectThatDoesNotFit keeps the beginning of a text that is too long for the server, and never fails for its length.
func TestSuspectThatDoesNotFit(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	ctx := natsiotest.Within(t)
	noise := make([]byte, 300<<10) // does not compress
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	s := backup.Suspect{DeviceID: "r1", Site: "berlin", Reason: string(bytes.Repeat([]byte{1}, 400))} // 6 bytes of JSON each
	for _, size := range []int{len(noise), 48_000} {                                                  // the second would fit but for the reason
		text := noise[:size]
		if err := b.PublishSuspect(ctx, s, text); err != nil {
			t.Fatal(err)
		}
		got, kept, found, err := b.Suspect(ctx, "berlin", "r1")
		if err != nil || !found || got.Bytes != size || len(kept) < 16<<10 || len(kept) == size || !bytes.HasPrefix(text, kept) {
			t.Errorf("kept %d of %d bytes (told as %d), found %t, %v", len(kept), size, got.Bytes, found, err)
		}
	}
}

// TestOpenBesideStreamsOfAnOlderBinary has the two streams as they were before there were suspects and audits, and a snapshot from
// before its proof was told.
func TestOpenBesideStreamsOfAnOlderBinary(t *testing.T) {
	t.Parallel()
	b := &bench{t: t, srv: natsiotest.StartServer(t)}
	b.conn = natsiotest.Connect(t, b.srv)
	js, ctx := b.conn.JetStream(), natsiotest.Within(t)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: stream.SnapshotStream, Subjects: []string{"config.snapshot.create.>", "config.snapshot.large.>"}, MaxBytes: megabyte, Discard: jetstream.DiscardNew, AllowDirect: true},
		{Name: stream.EventStream, Subjects: []string{"config.backup.unchanged.>", "config.backup.failed.>", "config.backup.blocked.>", "config.diff.>"}, MaxBytes: megabyte},
	} {
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	old := []byte(`{"device_id":"r:1","site":"berlin","sha256_hash":"aa","config_text":"x","normalization_version":1,"v":1}`)
	if _, err := js.Publish(ctx, "config.snapshot.create."+device.Key("berlin", "r:1"), old); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds all
		var err error
		if b.Stream, err = stream.Open(ctx, b.conn, stream.Options{SnapshotBytes: 2 * megabyte, EventBytes: megabyte}); err != nil {
			t.Fatal(err)
		}
		if s, seq := b.last(); seq != 1 || s.ConfigText != "x" || s.Proof != "" {
			t.Errorf("the old snapshot is %+v", s)
		}
	}
	if err := b.PublishSuspect(ctx, backup.Suspect{DeviceID: "r:1", Site: "berlin"}, []byte("cut")); err != nil {
		t.Error(err)
	}
	have, err := js.Stream(ctx, stream.SuspectStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := have.CachedInfo().Config
	if cfg.MaxAge != stream.SuspectAge || cfg.MaxBytes != stream.SuspectBytes || cfg.MaxMsgsPerSubject != 1 || cfg.Discard != jetstream.DiscardOld || cfg.Storage != jetstream.FileStorage {
		t.Errorf("suspects are kept by %+v", cfg)
	}
}
