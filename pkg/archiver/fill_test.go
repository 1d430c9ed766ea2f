package archiver

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
)

// TestBackAfterRetention: a device that comes back unchanged after its history has gone is only ever seen by its worker, and
// has a text all the same; so does one whose snapshot was taken by an archive that is lost.
func TestBackAfterRetention(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	now := time.Now()
	text := snap(testDevice, before, 1)
	seen := func(digest string, at time.Time) {
		t.Helper()
		e := backup.Event{
			V: backup.EventVersion, Type: backup.EventUnchanged, DeviceID: testDevice, TenantID: "default", Site: testSite, Name: text.Name,
			At: at, Attempt: at.String(), Digest: digest, CollectAt: at,
		}
		if err := h.stream.PublishEvent(h.within(), e); err != nil {
			t.Fatal(err)
		}
	}
	stop := h.run(h.store)
	h.publish(text)
	h.awaitTaken()
	stop()
	if err := h.store.Remove(h.within(), []string{testDevice}, now.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if r, err := h.store.Retain(h.within(), archive.Policy{Removed: time.Hour}, now); err != nil || r.Devices != 1 {
		t.Fatal(r, err)
	}
	h.run(h.store)
	seen(snap(testDevice, after, 1).SHA256Hash, now)
	h.awaitTaken()
	if _, err := h.store.Version(h.within(), testDevice, archive.Which{}); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("a text that was not seen: %v", err)
	}
	seen(text.SHA256Hash, now.Add(time.Second))
	h.awaitTaken()
	h.wantTexts(testDevice, before)
	v, raw, err := h.store.Raw(h.within(), testDevice, archive.Which{})
	if err != nil || !v.LastSeen.Equal(now.Add(time.Second)) || !strings.HasSuffix(string(raw), before) {
		t.Errorf("%+v, %q, %v", v, raw, err)
	}
}

// TestNewArchive: what an archive that is lost has taken from the stream comes into the new one.
func TestNewArchive(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	stop := h.run(h.store)
	text := snap(testDevice, before, 1)
	h.publish(text)
	h.awaitTaken()
	stop()
	fresh, err := archive.OpenSQLite(h.within(), t.TempDir(), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := h.archiver(fresh)
	if err := a.fill(h.within(), archive.Sighting{Device: testDevice, Site: testSite, Digest: text.SHA256Hash, At: time.Now()}); err != nil {
		t.Error(err)
	}
	v, err := fresh.Version(h.within(), testDevice, archive.Which{})
	if err != nil || v.Digest != text.SHA256Hash || !v.FirstSeen.Equal(text.CollectedAt) {
		t.Errorf("%+v, %v", v, err)
	}
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
}
