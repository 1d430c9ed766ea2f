package archiver

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/stream"
)

// TestEveryVersionOnce: a configuration that comes back is a version of its own, also where its text went through the object
// store, and the redelivery of the whole stream adds nothing.
func TestEveryVersionOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	large := strings.Repeat("/ip address add address=192.0.2.1\n", 6000)
	stop := h.run(h.store)
	h.publish(snap(testDevice, "A", 1))
	h.publish(snap(testDevice, "B", 2))
	h.publish(snap(testDevice, "A", 3))
	h.publish(snap("r2", large, 1))
	h.publish(snap("r2", "small", 2))
	h.awaitTaken()
	again := func(want string) {
		t.Helper()
		h.wantTexts(testDevice, "A", "B", "A")
		h.wantTexts("r2", large, "small")
		if n := h.meter.of("new"); n != 5 {
			t.Errorf("%s: %d new versions, want 5", want, n)
		}
	}
	again("first")
	if _, raw, err := h.store.Raw(h.within(), "r2", archive.Which{Number: 1}); err != nil || string(raw) != "# raw\r\n"+large {
		t.Errorf("raw text of %d bytes, %v", len(raw), err)
	}
	stop()
	if err := h.conn.JetStream().DeleteConsumer(h.within(), stream.SnapshotStream, stream.ArchiverName); err != nil {
		t.Fatal(err)
	}
	h.run(h.store)
	h.eventually("the redelivery", func() bool { return h.meter.of("known") == 5 })
	again("again")
}

// TestOrder: snapshots that come in another order than that of their exports stand in the right one.
func TestOrder(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, minute := range []int{4, 1, 3, 2} {
		h.publish(snap(testDevice, fmt.Sprint("at ", minute), minute))
	}
	h.run(h.store)
	h.awaitTaken()
	h.wantTexts(testDevice, "at 1", "at 2", "at 3", "at 4")
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	wrongDigest, notWhole, otherText := snap("r1", "text", 1), snap("r1", "text", 2), snap("r1", "text", 3)
	wrongDigest.SHA256Hash = strings.Repeat("0", 64)
	notWhole.Complete = false
	otherText.ConfigText += " and more"
	create := "config.snapshot.create." + testSite + "."
	h.publishRaw(create+"r1", wrongDigest)
	h.publishRaw(create+"r1", notWhole)
	h.publishRaw(create+"r1", otherText)
	h.publishRaw(create+"r2", snap("r1", "of another device", 4))
	h.publishRaw("config.snapshot.create.other.r1", snap("r1", "of another site", 5))
	h.publishRaw("config.snapshot.create.x", snap("r1", "of none", 6))
	h.publish(snap("r3", "good", 1))
	stop := h.run(h.store)
	h.awaitTaken()
	h.wantTexts("r3", "good")
	if _, err := h.store.Version(h.within(), "r1", archive.Which{}); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("something of r1 is stored: %v", err)
	}
	check := func() {
		t.Helper()
		all, err := h.store.Quarantined(h.within())
		if err != nil || len(all) != 6 {
			t.Fatalf("%d in quarantine, %v", len(all), err)
		}
		for i, want := range []string{"its digest", "proven complete", "its digest", `its subject is of device "r2"`, `on site "other"`, "not <site>.<device>"} {
			if q := all[i]; !strings.Contains(q.Reason, want) || q.Seq != uint64(i+1) || q.Size == 0 || q.Subject == "" {
				t.Errorf("%d: %+v, want %q", i, q, want)
			}
		}
	}
	check()
	if n := h.meter.of(Quarantined); n != 6 || !strings.Contains(h.log.String(), "put into quarantine") {
		t.Errorf("%d counted, log:\n%s", n, h.log)
	}
	stop()
	if err := h.conn.JetStream().DeleteConsumer(h.within(), stream.SnapshotStream, stream.ArchiverName); err != nil {
		t.Fatal(err)
	}
	h.run(h.store)
	h.eventually("the redelivery", func() bool { return h.meter.of("known") == 1 })
	check()
}

// TestStoreFails: the batch waits in hand, nothing is acknowledged, and what follows is stored once.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.publish(snap(testDevice, "A", 1))
	held := make(chan struct{})
	h.run(&tap{SQLite: h.store, put: func(n int) error {
		switch n {
		case 1:
			return errors.New("the disk is full")
		case 2:
			close(held)
		}
		return nil
	}})
	<-held
	h.awaitTaken()
	h.wantTexts(testDevice, "A")
	if log := h.log.String(); strings.Count(log, "archive not written") != 1 || !strings.Contains(log, "takes writes again") {
		t.Errorf("log:\n%s", log)
	}
}

// TestNATSRestarts while a batch is being stored: its acknowledgements are lost, and it comes again.
func TestNATSRestarts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var want []string
	for i := range 6 {
		want = append(want, fmt.Sprint("text ", i))
		h.publish(snap(testDevice, want[i], i))
	}
	h.run(&tap{SQLite: h.store, put: func(n int) error {
		if n == 1 {
			h.nats.Stop()
			h.nats.Start()
		}
		return nil
	}})
	h.eventually("the first batch", func() bool {
		natsiotest.Hurry(h.within(), h.conn.JetStream(), stream.SnapshotStream, stream.ArchiverName)
		return h.meter.of("new") == 6
	})
	for i := 6; i < 9; i++ {
		want = append(want, fmt.Sprint("text ", i))
		h.publish(snap(testDevice, want[i], i))
	}
	h.eventually("what comes again", func() bool {
		natsiotest.Hurry(h.within(), h.conn.JetStream(), stream.SnapshotStream, stream.ArchiverName)
		return h.taken()
	})
	h.wantTexts(testDevice, want...)
}

func TestSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := snap(testDevice, "A", 1)
	later := s.CollectedAt.Add(time.Hour)
	event := backup.Event{
		V: 1, Type: backup.EventUnchanged, DeviceID: testDevice, Site: testSite, TenantID: "default", Digest: s.SHA256Hash, CollectAt: later, Attempt: "1",
	}
	foreign, empty := event, event
	foreign.DeviceID, foreign.CollectAt, foreign.Attempt = "r2", later.Add(time.Hour), "2"
	empty.Digest, empty.Attempt = "", "3"
	h.publish(s)
	for _, e := range []backup.Event{event, empty} {
		if err := h.stream.PublishEvent(h.within(), e); err != nil {
			t.Fatal(err)
		}
	}
	data, err := backup.EncodeEvent(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.conn.JetStream().Publish(h.within(), "config.backup.unchanged."+device.Key(testSite, testDevice), data); err != nil {
		t.Fatal(err)
	}
	h.run(h.store)
	h.awaitTaken()
	v, err := h.store.Version(h.within(), testDevice, archive.Which{})
	if err != nil || !v.LastSeen.Equal(later) {
		t.Errorf("last seen %s, want %s: %v", v.LastSeen, later, err)
	}
	if n := strings.Count(h.log.String(), "event left out"); n != 2 {
		t.Errorf("%d events left out, want 2", n)
	}
}

// TestRemoved: a device that left becomes a tombstone, one that moves to another site does not, and an empty registry says
// nothing.
func TestRemoved(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	now := time.Now()
	a := h.archiver(h.store)
	stop := h.run(h.store)
	for _, id := range []string{"stays", "moves", "goes"} {
		h.publish(snap(id, "text of "+id, 1))
	}
	h.awaitTaken()
	stop()
	removed := func(want ...string) {
		t.Helper()
		all, err := h.store.Devices(h.within(), archive.DeviceQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range all {
			if !all[i].Removed.IsZero() {
				got = append(got, all[i].ID)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("removed: %v, want %v", got, want)
		}
	}
	look := func(after time.Duration) {
		t.Helper()
		if err := a.look(h.within(), now.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	change := func(id, site string, deleted bool) {
		if err := a.roster.apply(backup.Change{Bucket: backup.BucketDevices, Key: device.Key(site, id), Deleted: deleted}); err != nil {
			t.Fatal(err)
		}
	}
	look(0)
	a.roster.ready = true
	look(time.Hour)
	look(2 * time.Hour)
	removed() // nothing is known of any device

	for _, id := range []string{"stays", "moves", "goes"} {
		change(id, testSite, false)
	}
	look(3 * time.Hour)
	change("goes", testSite, true)
	change("moves", testSite, true)
	look(4 * time.Hour)
	removed()
	change("moves", "oslo", false)
	look(4*time.Hour + removeDelay - time.Second)
	removed()
	look(4*time.Hour + removeDelay)
	removed("goes")
	if len(a.missing) > 0 {
		t.Errorf("still missing: %v", a.missing)
	}
	change("goes", testSite, false)
	look(5 * time.Hour)
	removed() // whether it can be reached or not
}

// TestRegistryIsWatched holds the roster against the real registry.
func TestRegistryIsWatched(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := device.Device{ID: testDevice, Site: testSite}
	if err := h.registry.PutDevice(h.within(), d); err != nil {
		t.Fatal(err)
	}
	a := h.archiver(h.store)
	done := make(chan error, 1)
	ctx := h.within()
	go func() { done <- a.watchRegistry(ctx) }()
	h.eventually("the device", func() bool { here, known := a.roster.ids(); return known && here[testDevice] })
	if err := h.registry.DeleteDevice(h.within(), d.Key()); err != nil {
		t.Fatal(err)
	}
	h.eventually("its end", func() bool { here, _ := a.roster.ids(); return !here[testDevice] })
}
