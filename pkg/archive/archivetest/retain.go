package archivetest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/routeros"
)

const day = 24 * time.Hour

// retain compares the dry run with what goes.
func (h *harness) retain(p archive.Policy, now time.Time) archive.Retained {
	h.Helper()
	expired := 0
	h.must(h.Expired(h.ctx, p, now, func(v archive.Version) error {
		expired++
		if _, err := h.Version(h.ctx, v.Device, archive.Which{Number: v.Number}); err != nil {
			return err
		}
		return nil
	}))
	out, err := h.Retain(h.ctx, p, now)
	h.must(err)
	h.want("the dry run", expired, out.Versions)
	h.must(h.Expired(h.ctx, p, now, func(v archive.Version) error { return fmt.Errorf("version %d is left", v.Number) }))
	h.clean()
	return out
}

// testRetain: what stays opens as before, whatever it rested on.
func testRetain(h *harness) {
	put := map[string]archive.Snapshot{}
	r := NewRouter("r", "b", 1500)
	var all []archive.Snapshot
	for i := range 110 {
		s := r.Snapshot(after(i))
		put[s.Digest+s.CollectedAt.String()] = s
		all = append(all, s)
		r.Change()
	}
	h.put(all...)
	left := 110
	for _, keep := range []int{109, 95, 30, 2, 1} {
		h.want(fmt.Sprint("removed to keep ", keep), h.retain(archive.Policy{Versions: keep}, after(300)).Versions, left-keep)
		left = keep
		h.same("r", put)
		v := h.versions("r")
		h.want("numbers", []int{len(v), v[0].Number, v[len(v)-1].Number}, []int{keep, 110, 111 - keep})
	}
	h.want("expired ones again", h.put(all[108], all[0], all[109]), []archive.Status{archive.Expired, archive.Expired, archive.Known})
	r.Change()
	next := r.Snapshot(after(400))
	put[next.Digest+next.CollectedAt.String()] = next
	h.put(next)
	h.want("counted on", h.versions("r")[0].Number, 111)
	h.same("r", put)
	stats, err := h.Stats(h.ctx)
	h.must(err)
	if stats.Stored > 20_000 {
		h.Errorf("two versions are left and %d bytes of texts", stats.Stored)
	}
	if _, err := h.Retain(h.ctx, archive.Policy{Versions: -1}, after(1)); err == nil {
		h.Error("a negative limit passes")
	}
}

// testRetainAge: the state of every moment within the age stays, and the newest version whatever its age.
func testRetainAge(h *harness) {
	for i, word := range []string{"A", "B", "C", "D"} {
		h.put(Snapshot("d", Start.Add(time.Duration(i)*10*day), body(word)))
	}
	h.put(Snapshot("old", Start, body("old")))
	now := Start.Add(35 * day) // A went 25 days ago, B 15, C 5
	h.want("none", h.retain(archive.Policy{}, now).Versions, 0)
	h.want("26 days", h.retain(archive.Policy{Age: 26 * day}, now).Versions, 0)
	h.want("25 days", h.retain(archive.Policy{Age: 25 * day}, now).Versions, 1)
	v, err := h.Version(h.ctx, "d", archive.Which{At: now.Add(-25 * day)})
	h.must(err)
	h.want("the state at the limit", v.Digest[:4], short("B"))
	h.want("an hour", h.retain(archive.Policy{Age: time.Hour}, now.Add(1000*day)).Versions, 2)
	h.want("the newest stays", fmt.Sprint(len(h.versions("d")), len(h.versions("old"))), "1 1")
}

func testRemoved(h *harness) {
	var gone []archive.Snapshot
	for i := range 110 {
		gone = append(gone, Snapshot("gone", after(i), body(fmt.Sprint(i))))
	}
	h.put(gone...)
	h.put(Snapshot("back", after(0), body("x")), Snapshot("stays", after(0), body("x")))
	h.must(h.Remove(h.ctx, []string{"gone", "back", "unknown"}, after(1000)))
	h.must(h.Remove(h.ctx, []string{"gone"}, after(2000)))
	h.want("removed at", minutes(h.device("gone").Removed), 1000)
	h.put(Snapshot("back", after(1100), body("y")))
	h.want("back", h.device("back").Removed.IsZero(), true)
	late := Snapshot("gone", after(900), body("late"))
	h.put(late)
	h.want("still removed", minutes(h.device("gone").Removed), 1000)
	p := archive.Policy{Versions: 100_000, Removed: day}
	h.want("not yet", h.retain(p, after(1000).Add(day-1)), archive.Retained{})
	h.want("now", h.retain(p, after(1000).Add(day)), archive.Retained{Versions: 111, Devices: 1})
	if _, err := h.Versions(h.ctx, "gone", 0, 0); !errors.Is(err, archive.ErrNotFound) {
		h.Errorf("what is left: %v", err)
	}
	all, err := h.Devices(h.ctx, archive.DeviceQuery{})
	h.must(err)
	h.want("devices", len(all), 2)
	h.want("redelivered", h.put(late), []archive.Status{archive.Expired})
	h.put(Snapshot("gone", after(5000), body("again")))
	h.must(h.Remove(h.ctx, []string{"back"}, after(6000)))
	before := h.device("back").Revision
	h.must(h.Return(h.ctx, []string{"back", "stays", "unknown"}))
	h.want("returned", h.device("back").Removed.IsZero(), true)
	h.want("its revision moved", h.device("back").Revision > before, true)
	h.want("kept for good", h.retain(p, after(6000).Add(2*day)), archive.Retained{})
	h.want("came back", fmt.Sprint(h.device("gone").Removed.IsZero(), h.versions("gone")[0].Number), "true 112")
}

// testRenormalize: version 2 of the form has no lines that start with noise.
func testRenormalize(h *harness) {
	form := func(version int, raw []byte) (out []byte) {
		for line := range bytes.Lines(raw) {
			if line[0] != '#' && (version == 1 || !bytes.HasPrefix(line, []byte("noise"))) {
				out = append(out, line...)
			}
		}
		return out
	}
	two := archive.Normalizer{Version: 2, Func: func(dst, raw []byte) []byte { return append(dst, form(2, raw)...) }}
	make2 := func(device string, minute, version int, text string) archive.Snapshot {
		s := Snapshot(device, after(minute), form(version, []byte(text)))
		s.Raw, s.Normalization = []byte("# "+fmt.Sprint(minute)+"\n"+text), version
		return s
	}
	base := string(NewRouter("r", "a", 1000).Snapshot(Start).Normal)
	var before []archive.Snapshot
	for i := range 80 { // every second one changes nothing but noise
		before = append(before, make2("d", i, 1, fmt.Sprintf("%snoise %d\nconfig %d\n", base, i, i/2)))
	}
	noRaw := Snapshot("without", after(0), []byte("noise\n"))
	noRaw.Raw = nil
	noForm := Snapshot("formless", after(0), []byte("noise\n"))
	noForm.Raw = []byte("# no export\n")
	h.put(append(before, noRaw, noForm)...)
	h.want("before", len(h.versions("d")), 80)
	out, err := h.Renormalize(h.ctx, two)
	h.must(err)
	h.want("renormalized", fmt.Sprint(out.Snapshots, out.Merged, out.Left), "80 40 2")
	v := h.versions("d")
	h.want("after", fmt.Sprint(len(v), v[0].Number, v[0].Normalization), "40 40 2")
	for _, x := range v {
		_, normal, err := h.Normal(h.ctx, "d", archive.Which{Number: x.Number})
		h.must(err)
		_, raw, err := h.Raw(h.ctx, "d", archive.Which{Number: x.Number})
		h.must(err)
		if routeros.Digest(normal) != x.Digest || string(form(2, raw)) != string(normal) || x.Number == 3 && string(raw) != string(before[4].Raw) {
			h.Errorf("version %d is not the form of its raw text", x.Number)
		}
	}
	h.clean()
	h.want("redelivered", h.put(before[0], before[79]), []archive.Status{archive.Known, archive.Known})
	by, err := h.Version(h.ctx, "d", archive.Which{Digest: before[78].Digest})
	h.must(err)
	h.want("by its old digest", by.Number, 40)
	seen := archive.Sighting{Device: "d", Site: "a", Digest: before[79].Digest, At: after(500)}
	h.seen(seen)
	h.want("seen by its old digest", minutes(h.versions("d")[0].LastSeen), 500)
	h.put(make2("d", 600, 1, base+"noise x\nconfig 39\n")) // of a worker that was not upgraded
	_, err = h.Renormalize(h.ctx, two)
	h.must(err)
	h.want("no change", len(h.versions("d")), 40)
	still := h.device("formless").Revision
	again, err := h.Renormalize(h.ctx, two)
	h.must(err)
	h.want("again", fmt.Sprint(again.Snapshots, again.Left), "0 2")
	h.want("nothing moved", h.device("formless").Revision, still)
	h.want("search", h.count("d"), 1)
}

func (h *harness) count(device string) (n int) {
	h.Helper()
	h.must(h.Search(h.ctx, archive.SearchQuery{Match: func(v archive.Version, text []byte) bool {
		return v.Device == device && routeros.Digest(text) == v.Digest
	}},
		func(archive.Version, []byte) error { n++; return nil }))
	return n
}
