package archivetest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/confhaul/confhaul/pkg/archive"
)

func testChanges(h *harness) {
	var all []archive.Snapshot
	for i := range 130 {
		s := Snapshot(fmt.Sprint("d", i%40), after(i), body(fmt.Sprint(i)))
		s.Site = []string{"a", "b"}[i%2]
		all = append(all, s)
	}
	h.put(all...)
	numbers := func(q archive.ChangeQuery) (out []int) {
		h.must(h.Changes(h.ctx, q, func(v archive.Version) error {
			out = append(out, minutes(v.FirstSeen))
			return nil
		}))
		return out
	}
	everything := numbers(archive.ChangeQuery{})
	h.want("all", len(everything), 130)
	for i, n := range everything {
		if n != 129-i {
			h.Fatalf("change %d is of minute %d", i, n)
		}
	}
	h.want("span", numbers(archive.ChangeQuery{Since: after(3), Until: after(6)}), []int{5, 4, 3})
	h.want("site", numbers(archive.ChangeQuery{Until: after(6), Site: "b"}), []int{5, 3, 1})
	h.want("limit", numbers(archive.ChangeQuery{Limit: 2}), []int{129, 128})
	h.want("a limit of some pages", len(numbers(archive.ChangeQuery{Limit: 120})), 120)
	mine := errors.New("enough")
	if err := h.Changes(h.ctx, archive.ChangeQuery{}, func(archive.Version) error { return mine }); !errors.Is(err, mine) || !errors.Is(mine, err) {
		h.Errorf("the error of the function: %v", err)
	}
}

func testDevices(h *harness) {
	none, err := h.Stand(h.ctx)
	h.must(err)
	h.want("stand of nothing", none, archive.Stand{})
	a, b := Snapshot("1", after(1), body("a")), Snapshot("2", after(2), body("b"))
	b.Site, b.Name = "b", "core"
	h.put(a, b)
	ids := func(q archive.DeviceQuery) (out []string) {
		all, err := h.Devices(h.ctx, q)
		h.must(err)
		for _, d := range all {
			out = append(out, d.ID)
		}
		return out
	}
	h.want("all", ids(archive.DeviceQuery{}), []string{"1", "2"})
	h.want("site", ids(archive.DeviceQuery{Site: "b"}), []string{"2"})
	h.want("name", ids(archive.DeviceQuery{Word: "core"}), []string{"2"})
	revision := h.device("2").Revision
	h.want("nothing moved", ids(archive.DeviceQuery{After: revision}), []string{})
	moved := Snapshot("1", after(5), body("c"))
	moved.Site, moved.Name = "c", "moved"
	h.put(moved)
	h.want("moved on", ids(archive.DeviceQuery{After: revision}), []string{"1"})
	stand, err := h.Stand(h.ctx)
	h.must(err)
	h.want("stand", stand, archive.Stand{Revision: h.device("1").Revision, Archived: h.versions("1")[0].Archived})
	late := Snapshot("1", after(4), body("late")) // says nothing about where it is now
	h.put(late)
	d := h.device("1")
	h.want("device", fmt.Sprintln(d.Site, d.Name, d.Versions, d.Number, d.Digest, d.Size, d.Model, minutes(d.Changed)),
		fmt.Sprintln("c", "moved", 3, 3, moved.Digest, len(moved.Normal), "RB5009", 5))
}

func testSearch(h *harness) {
	var all []archive.Snapshot
	for i := range 150 {
		s := NewRouter(fmt.Sprintf("d%03d", i), []string{"a", "b"}[i%2], 500).Snapshot(after(0))
		t := Snapshot(s.Device, after(10+i%3), append([]byte("/changed\n"), s.Normal...))
		t.Site = s.Site
		all = append(all, s, t)
	}
	h.put(all...)
	search := func(q archive.SearchQuery) (n int, last string) {
		h.must(h.Search(h.ctx, q, func(v archive.Version, text []byte) error {
			if v.Site+v.Device <= last || v.LastSeen.IsZero() || len(text) != v.Size {
				h.Errorf("%+v, %d bytes, after %s", v, len(text), last)
			}
			last = v.Site + v.Device
			n++
			return nil
		}))
		return n, last
	}
	changed := func(_ archive.Version, text []byte) bool { return string(text[:8]) == "/changed" }
	for at, want := range map[int]int{-1: 0, 0: 0, 10: 50, 11: 100, 12: 150} {
		n, _ := search(archive.SearchQuery{At: after(at), Match: changed})
		h.want(fmt.Sprint("changed at ", at), n, want)
	}
	n, last := search(archive.SearchQuery{Match: changed})
	h.want("newest", fmt.Sprint(n, last), "150bd149")
	n, _ = search(archive.SearchQuery{Site: "b", At: after(5)})
	h.want("a site, everything", n, 75)
	mine := errors.New("enough")
	if err := h.Search(h.ctx, archive.SearchQuery{}, func(archive.Version, []byte) error { return mine }); !errors.Is(err, mine) || !errors.Is(mine, err) {
		h.Errorf("the error of the function: %v", err)
	}
	ctx, cancel := context.WithCancel(h.ctx)
	err := h.Search(ctx, archive.SearchQuery{}, func(archive.Version, []byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		h.Errorf("cancelled: %v", err)
	}
}

// testAtOnce reads while it writes.
func testAtOnce(h *harness) {
	var wg sync.WaitGroup
	for i := range 4 {
		r := NewRouter(fmt.Sprint("r", i), "a", 2000)
		wg.Go(func() {
			for n := range 15 {
				if _, err := h.Put(h.ctx, []archive.Snapshot{r.Snapshot(after(n))}); err != nil {
					h.Error(err)
				}
				r.Change()
			}
		})
		wg.Go(func() {
			for range 5 {
				err := h.Search(h.ctx, archive.SearchQuery{}, func(v archive.Version, text []byte) error {
					_, again, err := h.Normal(h.ctx, v.Device, archive.Which{Digest: v.Digest})
					if err == nil && string(again) != string(text) {
						err = fmt.Errorf("%s: search and show differ", v.Device)
					}
					return err
				})
				if _, other := h.Retain(h.ctx, archive.Policy{Versions: 10}, after(100)); err != nil || other != nil {
					h.Error(err, other)
				}
			}
		})
	}
	wg.Wait()
}

func testQuarantine(h *harness) {
	q := archive.Quarantined{At: after(1), Reason: "digest", Subject: "config.snapshot.create.a.d", Site: "a", Device: "d", Seq: 9, Data: []byte("{broken")}
	h.must(h.Quarantine(h.ctx, q))
	h.must(h.Quarantine(h.ctx, q))
	q.Data = nil
	h.must(h.Quarantine(h.ctx, q))
	all, err := h.Quarantined(h.ctx)
	h.must(err)
	h.want("quarantined", len(all), 2)
	first := all[0]
	data, err := h.QuarantinedData(h.ctx, first.ID)
	h.must(err)
	h.want("data", string(data), "{broken")
	q.ID, q.Size = first.ID, 7
	h.want("facts", fmt.Sprint(first), fmt.Sprint(q))
	h.must(h.Discard(h.ctx, first.ID))
	if err := h.Discard(h.ctx, first.ID); !errors.Is(err, archive.ErrNotFound) {
		h.Errorf("discarded twice: %v", err)
	}
	if _, err := h.QuarantinedData(h.ctx, first.ID); !errors.Is(err, archive.ErrNotFound) {
		h.Errorf("discarded: %v", err)
	}
	stats, err := h.Stats(h.ctx)
	h.must(err)
	h.want("left", stats.Quarantined, 1)
}
