package archivetest

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
)

// testAndBack: a text that was there before is a version of its own, and a redelivery is none.
func testAndBack(h *harness) {
	h.want("A", h.put(snap("A", 1)), []archive.Status{archive.New})
	h.want("B", h.put(snap("B", 2)), []archive.Status{archive.New})
	h.want("A again", h.put(snap("A", 3)), []archive.Status{archive.New})
	h.want("redelivered", h.put(snap("A", 1), snap("B", 2), snap("A", 3)), []archive.Status{archive.Known, archive.Known, archive.Known})
	h.want("same again", h.put(snap("A", 4)), []archive.Status{archive.Same})
	h.want("line", h.line(), []string{"1:" + short("A") + "@1-1", "2:" + short("B") + "@2-2", "3:" + short("A") + "@3-4"})
	v := h.versions("d")
	h.want("previous", []string{v[0].Previous[:4], v[1].Previous[:4], v[2].Previous}, []string{short("B"), short("A"), ""})
	h.want("late", h.put(snap("C", -1), snap("A", 0)), []archive.Status{archive.New, archive.Same})
	h.want("numbered anew", h.versions("d")[0].Number, 4)
}

// testAnyOrder: the same snapshots give the same index in whatever order, batches and number they come.
func testAnyOrder(h *harness) {
	d := dice(7)
	for round := range 4 {
		n := 3 + d.n(11)
		put := map[string]archive.Snapshot{}
		var all []archive.Snapshot
		for i := range n {
			s := Snapshot("", after(i), body(fmt.Sprint(d.n(4))))
			put[s.Digest+s.CollectedAt.String()] = s
			all = append(all, s)
		}
		var first []archive.Version
		for try := range 4 {
			device := fmt.Sprintf("r%d-%d", round, try)
			queue := append([]archive.Snapshot(nil), all...)
			if try > 0 {
				queue = append(queue, all[:d.n(n)]...)
				for i := range queue {
					j := d.n(i + 1)
					queue[i], queue[j] = queue[j], queue[i]
				}
			}
			for len(queue) > 0 {
				k := min(1+d.n(6), len(queue))
				for i := range queue[:k] {
					queue[i].Device = device
				}
				h.put(queue[:k]...)
				queue = queue[k:]
			}
			got := h.versions(device)
			for i := range got {
				got[i].Archived, got[i].Device = time.Time{}, ""
			}
			if try == 0 {
				first = got
			} else if !reflect.DeepEqual(got, first) {
				h.Fatalf("round %d, try %d:\n%v\nand in order\n%v", round, try, got, first)
			}
			h.same(device, put)
		}
	}
}

func sighting(word string, minute int) archive.Sighting {
	s := snap(word, minute)
	return archive.Sighting{Device: s.Device, Site: s.Site, Name: s.Name, Tenant: s.Tenant, Digest: s.Digest, At: s.CollectedAt}
}

func testSeen(h *harness) {
	h.put(snap("A", 1))
	h.seen(sighting("A", 5))
	h.seen(sighting("A", 3)) // an older one changes nothing
	h.want("seen", h.line(), []string{"1:" + short("A") + "@1-5"})
	h.put(snap("B", 7))
	h.seen(sighting("B", 9))
	h.seen(sighting("A", 6)) // late
	h.want("late", h.line(), []string{"1:" + short("A") + "@1-6", "2:" + short("B") + "@7-9"})
	d := h.device("d")
	h.want("times", []int{minutes(d.First), minutes(d.Proven), minutes(d.Archived), minutes(d.Changed)}, []int{1, 9, 9, 7})
	h.seen(sighting("C", 20)) // whose text never came
	d = h.device("d")
	h.want("a text is missing", []int{minutes(d.Proven), minutes(d.Archived)}, []int{20, 9})
}

// testSeenEarly: the events of a device may overtake its snapshots.
func testSeenEarly(h *harness) {
	h.seen(sighting("A", 5))
	d := h.device("d")
	h.want("proven, nothing archived", fmt.Sprint(minutes(d.Proven), d.Archived.IsZero(), d.Versions), "5 true 0")
	if _, err := h.Version(h.ctx, "d", archive.Which{}); !errors.Is(err, archive.ErrNotFound) {
		h.Errorf("a version: %v", err)
	}
	h.put(snap("A", 1))
	h.want("taken up", h.line(), []string{"1:" + short("A") + "@1-5"})
	h.seen(sighting("B", 12))
	h.seen(sighting("A", 25))
	h.want("not A's time", h.line(), []string{"1:" + short("A") + "@1-25"})
	h.put(snap("B", 10))
	h.want("B between", h.line(), []string{"1:" + short("A") + "@1-1", "2:" + short("B") + "@10-12"})
	h.put(snap("A", 20))
	h.want("A again", h.line(), []string{"1:" + short("A") + "@1-1", "2:" + short("B") + "@10-12", "3:" + short("A") + "@20-25"})
}

func (h *harness) device(id string) archive.Device {
	h.Helper()
	all, err := h.Devices(h.ctx, archive.DeviceQuery{Word: id})
	h.must(err)
	if len(all) != 1 {
		h.Fatalf("%d devices are %s", len(all), id)
	}
	return all[0]
}

func testWhich(h *harness) {
	for i, word := range []string{"A", "B", "A", "C"} {
		h.put(snap(word, 10*(i+1)))
	}
	number := func(w archive.Which) string {
		v, err := h.Version(h.ctx, "d", w)
		if err != nil {
			return fmt.Sprint(errors.Is(err, archive.ErrNotFound), errors.Is(err, archive.ErrAmbiguous))
		}
		return fmt.Sprint(v.Number)
	}
	for _, tc := range []struct {
		which archive.Which
		want  string
	}{
		{archive.Which{}, "4"}, {archive.Which{Number: 2}, "2"}, {archive.Which{Number: 5}, "true false"}, {archive.Which{Number: -1}, "true false"},
		{archive.Which{Digest: short("A")}, "3"}, {archive.Which{Digest: snap("B", 0).Digest}, "2"}, {archive.Which{Digest: short("A")[:3]}, "true false"},
		{archive.Which{Digest: "zzzz"}, "true false"}, {archive.Which{At: after(9)}, "true false"}, {archive.Which{At: after(10)}, "1"},
		{archive.Which{At: after(29)}, "2"}, {archive.Which{At: after(99)}, "4"}, {archive.Which{Number: 1, At: after(1)}, "false false"},
	} {
		h.want(fmt.Sprintf("%+v", tc.which), number(tc.which), tc.want)
	}
	met := map[string]string{}
	for i := 0; ; i++ {
		word := fmt.Sprint("w", i)
		other, ok := met[short(word)]
		if met[short(word)] = word; ok {
			h.put(snap(word, 100), snap(other, 200))
			h.want("two with one beginning", number(archive.Which{Digest: short(word)}), "false true")
			break
		}
	}
	if _, err := h.Versions(h.ctx, "nobody", 0, 0); !errors.Is(err, archive.ErrNotFound) {
		h.Errorf("an unknown device: %v", err)
	}
	page, err := h.Versions(h.ctx, "d", 4, 2)
	h.must(err)
	h.want("page", []int{len(page), page[0].Number, page[1].Number}, []int{2, 3, 2})
}

func testReopen(h *harness) {
	r, put := NewRouter("r", "b", 5000), map[string]archive.Snapshot{}
	for i := range 30 {
		s := r.Snapshot(after(i))
		put[s.Digest+s.CollectedAt.String()] = s
		h.want("put", h.put(s), []archive.Status{archive.New})
		r.Change()
		if i%10 == 9 {
			h.reopen()
			h.want("redelivered", h.put(s), []archive.Status{archive.Known})
		}
	}
	h.same("r", put)
}
