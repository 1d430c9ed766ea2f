package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/stream"
)

const (
	before = "/ip dns\nset servers=192.0.2.1\n/ppp secret\nadd name=anna password=first-secret\n"
	after  = "/ip dns\nset servers=192.0.2.2\n/ppp secret\nadd name=anna password=second-secret\n"
)

// TestDiffs: each change is told once, in words and as text, without a secret; not the first snapshot, and not what comes again.
func TestDiffs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	stop := h.run(h.store)
	h.publish(snap(testDevice, before, 1))
	h.publish(snap(testDevice, after, 2))
	h.publish(snap("r2", before, 1))
	h.publish(snap(testDevice, before, 3))
	check := func(when string) {
		t.Helper()
		all := h.diffs()
		if len(all) != 2 {
			t.Fatalf("%s: %d changes, want 2: %+v", when, len(all), all)
		}
		d := all[0]
		var changes []routeros.Change
		if err := json.Unmarshal(d.Changes, &changes); err != nil || len(changes) != 2 || d.ChangesTotal != 2 {
			t.Errorf("%s: changes %s, %v", when, d.Changes, err)
		}
		first, second := snap(testDevice, before, 1), snap(testDevice, after, 2)
		if d.DeviceID != testDevice || d.Site != testSite || d.Name != second.Name || d.TenantID != "default" || d.V != backup.EventVersion || d.Version != 2 ||
			d.PreviousHash != first.SHA256Hash || d.SHA256Hash != second.SHA256Hash || !d.CollectedAt.Equal(second.CollectedAt) || !d.PreviousSeen.Equal(first.CollectedAt) ||
			d.LinesAdded != 2 || d.LinesRemoved != 2 || !strings.Contains(d.Summary, "/ip dns") {
			t.Errorf("%s: %+v", when, d)
		}
		if !strings.Contains(d.Text, "+set servers=192.0.2.2") || !strings.Contains(d.Text, "password=(changed)") {
			t.Errorf("%s: %s", when, d.Text)
		}
		if whole := fmt.Sprintf("%+v %s", all, d.Changes); strings.Contains(whole, "-secret") {
			t.Errorf("%s: a secret shows in %s", when, whole)
		}
		if back := all[1]; back.PreviousHash != second.SHA256Hash || back.SHA256Hash != first.SHA256Hash || back.Version != 3 {
			t.Errorf("%s: the way back is %+v", when, back)
		}
	}
	h.awaitTaken()
	check("first")
	stop()
	if err := h.conn.JetStream().DeleteConsumer(h.within(), stream.SnapshotStream, stream.ArchiverName); err != nil {
		t.Fatal(err)
	}
	h.run(h.store)
	h.eventually("the redelivery", func() bool { return h.meter.of("known") == 4 })
	h.awaitTaken()
	check("again")
}

// TestDiffAfterKill: an archiver that died after it stored a change and before it told of it tells of it when it comes back.
func TestDiffAfterKill(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := h.archiver(h.store)
	a.o.Publisher = cut{h.stream, cancel}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.publish(snap(testDevice, before, 1))
	h.publish(snap(testDevice, after, 2))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.wantTexts(testDevice, before, after)
	if d := h.diffs(); len(d) != 0 {
		t.Fatalf("told before: %+v", d)
	}
	h.run(h.store)
	h.eventually("the redelivery", func() bool {
		natsiotest.Hurry(h.within(), h.conn.JetStream(), stream.SnapshotStream, stream.ArchiverName)
		return h.taken()
	})
	if d := h.diffs(); len(d) != 1 || d[0].Version != 2 {
		t.Errorf("told: %+v", d)
	}
}

// cut ends everything where a change is to be published.
type cut struct {
	*stream.Stream
	cancel func()
}

func (c cut) PublishDiff(context.Context, backup.Diff) error {
	c.cancel()
	return errors.New("cut")
}

// TestLargeDiff: what does not fit is counted.
func TestLargeDiff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.run(h.store)
	var more strings.Builder
	more.WriteString(before + "/ip route\n")
	for i := range 2000 {
		fmt.Fprintf(&more, "add dst-address=10.%d.%d.0/24 gateway=192.0.2.%d\n/ip pool\nadd name=p%d ranges=10.0.0.1\n/ip route\n", i/250, i%250, i%250, i)
	}
	h.publish(snap(testDevice, before+"/ip pool\nadd name=x ranges=10.0.0.1\nadd name=y ranges=10.0.0.2\n/ip route\nadd gateway=192.0.2.9\nadd gateway=192.0.2.8\n", 1))
	h.publish(snap(testDevice, more.String(), 2))
	h.awaitTaken()
	all := h.diffs()
	if len(all) != 1 {
		t.Fatalf("%d changes", len(all))
	}
	var changes []routeros.Change
	d := all[0]
	if err := json.Unmarshal(d.Changes, &changes); err != nil || len(changes) == 0 || len(changes) >= d.ChangesTotal || len(d.Changes) > backup.DiffChangesMax {
		t.Errorf("%d of %d changes in %d bytes, %v", len(changes), d.ChangesTotal, len(d.Changes), err)
	}
	if d.Text != "" {
		t.Errorf("a text of %d bytes", len(d.Text))
	}
}

// unreadable is a store in which the texts of some devices are damaged.
type unreadable struct {
	*archive.SQLite
	damaged map[string]bool
}

func (u unreadable) Normal(ctx context.Context, device string, which archive.Which) (archive.Version, []byte, error) {
	if u.damaged[device] {
		return archive.Version{}, nil, fmt.Errorf("device %s: %w", device, archive.ErrDamaged)
	}
	return u.SQLite.Normal(ctx, device, which)
}

// TestDiffBesideDamage: what is damaged keeps no change of another device from being told.
func TestDiffBesideDamage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for minute, text := range []string{before, after} {
		for _, id := range []string{"r1", "r2", "r3"} {
			h.publish(snap(id, text, minute))
		}
	}
	h.run(unreadable{h.store, map[string]bool{"r1": true, "r2": true}})
	h.awaitTaken()
	if all := h.diffs(); len(all) != 1 || all[0].DeviceID != "r3" {
		t.Errorf("%+v", all)
	}
	if !strings.Contains(h.log.String(), "changes=2") {
		t.Error("what could not be told is not in the log")
	}
}
