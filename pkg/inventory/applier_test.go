package inventory

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
)

func TestRefreshAppliesTheFirstFileAndItsChanges(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	r.file(start.Add(-time.Hour), "r1 h1 ber", "r2 h2 ber", "r3 h3 ber")
	r.refresh("first", Report{Applied: true, Generation: 1, Added: 3, InForce: true}, "")
	if got := reg.devices[device.Key("ber", "r1")].FirstSeen; !got.Equal(start) {
		t.Errorf("first seen %v", got)
	}
	reads := reg.reads
	r.refresh("nothing", Report{Applied: true, Generation: 1, InForce: true}, "")
	if reg.reads != reads {
		t.Error("an idle refresh read the devices")
	}
	r.clock = start.Add(time.Hour)
	r.file(start, "r1 h9 ber", "r2 h2 zrh", "r4 h4 ber")
	r.refresh("changed", Report{Applied: true, Generation: 2, Added: 1, Changed: 1, Removed: 1, Moved: 1, InForce: true}, "")
	if got := reg.ids(); got != "ber/r1@h9 ber/r4@h4 zrh/r2@h2" {
		t.Errorf("registry: %s", got)
	}
	for _, key := range []string{device.Key("ber", "r1"), device.Key("zrh", "r2")} {
		if got := reg.devices[key].FirstSeen; !got.Equal(start) {
			t.Errorf("%s first seen %v", key, got)
		}
	}
	if c := reg.current; c.Digest != r.Applier.file.Digest || !c.LoadedAt.Equal(r.clock) || !c.Applied {
		t.Errorf("current %+v", c)
	}
	delete(reg.devices, device.Key("ber", "r1"))
	r.refresh("the registry differs", Report{Applied: true, Generation: 2, InForce: true}, "")
	if got := reg.ids(); got != "ber/r4@h4 zrh/r2@h2" {
		t.Errorf("the registry was written because it differs: %s", got)
	}
}

func TestStartAppliesOnlyANewerFile(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	a.file(start.Add(-time.Hour), "r1 h1 ber")
	a.refresh("a", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")

	b.file(start.Add(-time.Minute), "r1 h2 ber")
	b.refresh("older than loaded_at", Report{Applied: true, Generation: 1}, "is not the current inventory")
	b.refresh("told already", Report{Applied: true, Generation: 1}, "")
	if reg.writes != 1 {
		t.Errorf("%d writes", reg.writes)
	}
	b.file(start.Add(time.Minute), "r1 h2 ber")
	b.refresh("touched, same content", Report{Applied: true, Generation: 1}, "")

	b.restart(reg)
	b.refresh("newer at start", Report{Applied: true, Generation: 2, Changed: 1, InForce: true}, "")
	a.refresh("a has the old file", Report{Applied: true, Generation: 2}, "is not the current inventory")
	a.refresh("a, told already", Report{Applied: true, Generation: 2}, "")
	a.restart(reg)
	a.refresh("a started anew", Report{Applied: true, Generation: 2}, "is not the current inventory")
	a.file(start, "r1 h2 ber")
	a.refresh("a has the same file", Report{Applied: true, Generation: 2, InForce: true}, "")
	if got := reg.ids(); got != "ber/r1@h2" {
		t.Errorf("registry: %s", got)
	}
}

func TestDifferenceTellsBothFiles(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	a.file(start, "r1 h1 ber")
	a.refresh("a", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	b.file(start.Add(-time.Hour), "r1 h2 ber")
	_, err := b.Refresh(t.Context(), false)
	f, loadErr := Load(b.path)
	if loadErr != nil {
		t.Fatal(loadErr)
	}
	want := fmt.Sprintf("%s (sha256 %s) is not the current inventory (sha256 %s, generation 1, loaded 2026-01-02T03:00:00Z): "+
		"give all schedulers the same file, or change this one to make it current", b.path, f.Digest, reg.current.Digest)
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestAChangeUnderTheReplicaWinsWhateverItsTime(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	for _, r := range []*replica{a, b} {
		r.file(start.Add(-time.Hour), "r1 h1 ber")
	}
	a.refresh("a", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	b.refresh("b", Report{Applied: true, Generation: 1, InForce: true}, "")
	b.file(start.Add(-2*time.Hour), "r1 h2 ber")
	b.refresh("b, an older file came", Report{Applied: true, Generation: 2, Changed: 1, InForce: true}, "")
}

func TestBadFileLeavesTheOldInForceAndIsToldOnce(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	same := Report{Applied: true, Generation: 1}
	r.file(start, "r1 h1 ber")
	r.refresh("good", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	r.content(start.Add(time.Minute), "id,address\nr1,bad host\n")
	r.refresh("bad", same, ":2: address: ")
	r.refresh("told already", same, "")
	r.content(start.Add(2*time.Minute), "id,address\nr1,bad host\n")
	r.refresh("touched", same, "")
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.refresh("gone", same, "no such file")
	r.refresh("gone, told already", same, "")
	r.file(start, "r1 h1 ber")
	r.refresh("good again", Report{Applied: true, Generation: 1, InForce: true}, "")
	r.content(start.Add(time.Minute), "id,address\nr1,bad host\n")
	r.refresh("bad again", same, ":2: address: ")
	reg.current.Digest, reg.revision = "of another replica", reg.revision+1
	r.refresh("bad, and another is current", same, "")
	r.restart(reg)
	r.refresh("bad at start", same, ":2: address: ")
	r.file(start, "r1 h2 ber")
	r.refresh("mended", Report{Applied: true, Generation: 2, Changed: 1, InForce: true}, "")
}

func TestTooManyRemovalsNeedAcceptance(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	var all []string
	for i := range 50 {
		all = append(all, fmt.Sprintf("r%d h%d ber", i, i))
	}
	r.file(start, all...)
	r.refresh("all", Report{Applied: true, Generation: 1, Added: 50, InForce: true}, "")
	r.file(start.Add(time.Minute), all[:39]...)
	r.refresh("11 of 50 go", Report{Applied: true, Generation: 1}, "would remove 11 of 50 devices: the old inventory stays; use --accept-removals")
	r.refresh("told already", Report{Applied: true, Generation: 1}, "")
	r.file(start.Add(2*time.Minute), all[:40]...)
	r.refresh("10 of 50 go", Report{Applied: true, Generation: 2, Removed: 10, InForce: true}, "")
	r.file(start.Add(3*time.Minute), all[:1]...)
	r.refresh("39 of 40 go", Report{Applied: true, Generation: 2}, "would remove 39 of 40")
	r.expect("accepted", true, Report{Applied: true, Generation: 3, Removed: 39, InForce: true}, "")
	r.refresh("after", Report{Applied: true, Generation: 3, InForce: true}, "")
}

func TestAcceptAppliesAnOldFileOfAnotherProcess(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, cli := newReplica(t, reg), newReplica(t, reg)
	a.file(start, "r1 h1 ber")
	a.refresh("a", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	cli.file(start.Add(-time.Hour), "r1 h2 ber")
	cli.expect("operator", true, Report{Applied: true, Generation: 2, Changed: 1, InForce: true}, "")
}

func TestCheckIsAskedAgain(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	r.file(start, "r1 h1 ber")
	r.refresh("good", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	r.check = errors.New("no such credential")
	r.file(start.Add(time.Minute), "r1 h2 ber")
	r.refresh("refused", Report{Applied: true, Generation: 1}, "no such credential")
	r.refresh("told already", Report{Applied: true, Generation: 1}, "")
	r.check = nil
	r.refresh("accepted", Report{Applied: true, Generation: 2, Changed: 1, InForce: true}, "")
}

func TestATouchIsNoChangeWhileTheCheckRefuses(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	a.file(start, "r1 h1 ber")
	a.refresh("a", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	b.check = errors.New("no such credential")
	b.file(start.Add(-2*time.Hour), "r1 h2 ber")
	b.refresh("refused", Report{Applied: true, Generation: 1}, "no such credential")
	b.file(start.Add(-time.Hour), "r1 h2 ber")
	b.refresh("touched", Report{Applied: true, Generation: 1}, "")
	b.check = nil
	b.refresh("older than the current one", Report{Applied: true, Generation: 1}, "is not the current inventory")
}

func TestMoveWaitsForTheSession(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	r.file(start, "r1 h1 ber", "r2 h2 ber")
	r.refresh("first", Report{Applied: true, Generation: 1, Added: 2, InForce: true}, "")
	reg.running["r1"] = true
	r.file(start.Add(time.Minute), "r1 h1 zrh", "r2 h2 zrh")
	r.refresh("r1 is busy", Report{Generation: 2, Moved: 1, Pending: 1, InForce: true}, "")
	r.refresh("r1 is still busy", Report{Generation: 2, Pending: 1, InForce: true}, "")
	reg.running["r1"] = false
	r.refresh("r1 is free", Report{Applied: true, Generation: 2, Moved: 1, InForce: true}, "")
	if got := reg.ids(); got != "zrh/r1@h1 zrh/r2@h2" {
		t.Errorf("registry: %s", got)
	}
}

func TestWhatAProcessLeftUndoneIsFinished(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	for _, r := range []*replica{a, b} {
		r.file(start.Add(-time.Hour), "r1 h1 ber", "r2 h2 ber")
	}
	reg.before = func(n int) error {
		if n == 2 {
			return errors.New("the store is gone")
		}
		return nil
	}
	_, err := a.Refresh(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "the store is gone") || !strings.HasPrefix(err.Error(), "apply inventory: device r") {
		t.Errorf("error = %v", err)
	}
	b.clock = start.Add(29 * time.Second)
	b.refresh("too early for another", Report{Generation: 1, InForce: true}, "")
	b.clock = start.Add(30 * time.Second)
	got, err := b.Refresh(t.Context(), false)
	if err != nil || !got.Applied || got.Added == 0 {
		t.Errorf("report %+v, error %v", got, err)
	}
	if got := reg.ids(); got != "ber/r1@h1 ber/r2@h2" {
		t.Errorf("registry: %s", got)
	}
	a.refresh("nothing is left", Report{Applied: true, Generation: 1, InForce: true}, "")
}

func TestAnOvertakenWriterIsMended(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	for _, r := range []*replica{a, b} {
		r.file(start.Add(-time.Hour), "r1 h1 ber")
	}
	a.refresh("a", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	b.refresh("b", Report{Applied: true, Generation: 1, InForce: true}, "")

	// While a is about to write its new file, b makes another one current; a's write lands after b's.
	a.file(start.Add(time.Minute), "r1 old ber")
	b.file(start.Add(time.Minute), "r1 new ber")
	aWrites, bWrote, aDone := make(chan struct{}), make(chan struct{}), make(chan struct{})
	first := reg.writes + 1
	reg.before = func(n int) error {
		if n == first {
			close(aWrites)
			<-bWrote
		}
		return nil
	}
	var once sync.Once
	reg.after = func(put device.Device) {
		if put.Address == "new" {
			once.Do(func() { close(bWrote); <-aDone })
		}
	}
	go func() {
		defer close(aDone)
		if got, err := a.Refresh(t.Context(), false); err != nil || got.Applied {
			t.Errorf("a: %+v, %v", got, err)
		}
	}()
	<-aWrites
	b.refresh("b", Report{Applied: true, Generation: 3, Changed: 2, InForce: true}, "")
	if got := reg.ids(); got != "ber/r1@new" {
		t.Errorf("registry: %s", got)
	}
	a.refresh("a", Report{Applied: true, Generation: 3}, "is not the current inventory")
}

func TestTwoReplicasWithOneNewFileApplyItOnce(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	a, b := newReplica(t, reg), newReplica(t, reg)
	for _, r := range []*replica{a, b} {
		r.file(start.Add(-time.Hour), "r1 h1 ber")
		if _, err := r.Refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		r.file(start, "r1 h2 ber")
	}
	var group sync.WaitGroup
	for _, r := range []*replica{a, b} {
		group.Go(func() {
			if _, err := r.Refresh(t.Context(), false); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	a.refresh("a", Report{Applied: true, Generation: 2, InForce: true}, "")
	b.refresh("b", Report{Applied: true, Generation: 2, InForce: true}, "")
}

func TestALostRegistryIsFilledAgain(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	r.file(start, "r1 h1 ber")
	r.refresh("first", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
	reg.current, reg.revision, reg.devices = device.Inventory{}, 0, map[string]device.Device{}
	r.refresh("lost", Report{Applied: true, Generation: 1, Added: 1, InForce: true}, "")
}

func TestManyBatches(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	const n = 2*batchMax + 1
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("r%d h%d ber", i, i))
	}
	r.file(start, all...)
	r.refresh("all", Report{Applied: true, Generation: 1, Added: n, InForce: true}, "")
	if reg.writes != n || len(reg.devices) != n {
		t.Errorf("%d writes, %d devices", reg.writes, len(reg.devices))
	}
}

func TestAnOvertakenWriterStopsAfterItsBatch(t *testing.T) {
	t.Parallel()
	reg := newMemory()
	r := newReplica(t, reg)
	var all []string
	for i := range 2 * batchMax {
		all = append(all, fmt.Sprintf("r%d h%d ber", i, i))
	}
	r.file(start, all...)
	reg.before = func(n int) error {
		if n != 1 {
			return nil
		}
		_, err := reg.PutInventory(t.Context(), device.Inventory{Digest: "of another replica", Generation: 2}, 1)
		return err
	}
	r.refresh("overtaken", Report{Generation: 1, InForce: true}, "")
	if reg.writes != batchMax {
		t.Errorf("%d writes", reg.writes)
	}
	r.refresh("after", Report{Generation: 2}, "is not the current inventory")
}

func TestCompare(t *testing.T) {
	t.Parallel()
	dev := func(id, site, address string, seen int) device.Device {
		d := device.Device{ID: id, Site: site, Address: address}
		if seen > 0 {
			d.FirstSeen = start.Add(time.Duration(seen))
		}
		return d
	}
	got := Compare(
		[]device.Device{dev("same", "a", "h", 1), dev("changed", "a", "h", 2), dev("gone", "a", "h", 3), dev("moved", "a", "h", 4), dev("torn", "a", "h", 5), dev("torn", "b", "h", 5)},
		[]device.Device{dev("new", "a", "h", 0), dev("same", "a", "h", 0), dev("changed", "a", "i", 0), dev("moved", "b", "j", 0), dev("torn", "b", "h", 0)})
	want := Diff{
		Added:   []device.Device{dev("new", "a", "h", 0)},
		Changed: []device.Device{dev("changed", "a", "i", 2)},
		Removed: []device.Device{dev("gone", "a", "h", 3)},
		Moved: []Move{
			{From: dev("moved", "a", "h", 4), To: dev("moved", "b", "j", 4)},
			{From: dev("torn", "a", "h", 5), To: dev("torn", "b", "h", 5)},
		},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got.Empty() || !Compare(nil, nil).Empty() {
		t.Error("Empty is wrong")
	}
}

func TestTooManyRemovals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		removed, registered int
		want                bool
	}{{0, 0, false}, {10, 10, false}, {11, 55, false}, {11, 54, true}, {20, 100, false}, {21, 100, true}} {
		if got := (Diff{Removed: make([]device.Device, c.removed)}).TooManyRemovals(c.registered); got != c.want {
			t.Errorf("%d of %d: %t", c.removed, c.registered, got)
		}
	}
}
