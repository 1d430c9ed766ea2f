package archivetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/routeros"
)

// timeout bounds each test of the suite; it is never reached but by a deadlock.
const timeout = 2 * time.Minute

// TestStore runs the suite. open opens the store in a directory that is the test's own, and is called for the same one again
// after Close.
func TestStore(t *testing.T, open func(t *testing.T, dir string) archive.Store) {
	for name, test := range map[string]func(h *harness){
		"texts": testTexts, "refused": testRefused, "and back": testAndBack, "any order": testAnyOrder, "seen": testSeen, "seen early": testSeenEarly,
		"which": testWhich, "changes": testChanges, "devices": testDevices, "search": testSearch, "retain": testRetain, "retain age": testRetainAge,
		"removed": testRemoved, "renormalize": testRenormalize, "quarantine": testQuarantine, "at once": testAtOnce, "reopen": testReopen,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			dir := t.TempDir()
			h := &harness{T: t, ctx: ctx, Store: open(t, dir)}
			h.reopen = func() {
				h.must(h.Close())
				h.Store = open(t, dir)
			}
			test(h)
			h.clean()
			h.must(h.Close())
		})
	}
}

type harness struct {
	*testing.T
	archive.Store
	ctx    context.Context
	reopen func()
}

func (h *harness) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *harness) want(what string, got, want any) {
	h.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// put stores snapshots in one transaction and gives their statuses.
func (h *harness) put(snaps ...archive.Snapshot) (statuses []archive.Status) {
	h.Helper()
	results, err := h.Put(h.ctx, snaps)
	h.must(err)
	for _, r := range results {
		statuses = append(statuses, r.Status)
	}
	return statuses
}

func (h *harness) seen(g archive.Sighting) {
	h.Helper()
	bad, err := h.Seen(h.ctx, []archive.Sighting{g})
	h.must(err)
	h.want("impossible sightings", len(bad), 0)
}

func (h *harness) versions(device string) []archive.Version {
	h.Helper()
	out, err := h.Versions(h.ctx, device, 0, 0)
	h.must(err)
	return out
}

// clean verifies that nothing is damaged, and counts.
func (h *harness) clean() {
	h.Helper()
	seen, err := h.Verify(h.ctx, func(d archive.Damage) error {
		h.Errorf("damaged: %+v", d)
		return nil
	})
	h.must(err)
	stats, err := h.Stats(h.ctx)
	h.must(err)
	h.want("verified devices and versions", fmt.Sprint(seen.Devices, seen.Versions), fmt.Sprint(stats.Devices, stats.Versions))
}

// same compares every normal form of a device with its digest, and some texts with the snapshots that were put.
func (h *harness) same(device string, put map[string]archive.Snapshot) {
	h.Helper()
	vs := h.versions(device)
	slices.Reverse(vs)
	i := 0
	h.must(h.History(h.ctx, device, func(v archive.Version, normal []byte) error {
		h.want("version of history", v.Number, vs[i].Number)
		h.want("text of history", routeros.Digest(normal), vs[i].Digest)
		i++
		return nil
	}))
	h.want("versions of history", i, len(vs))
	for i, v := range vs {
		if i%7 > 0 && i < len(vs)-1 {
			continue
		}
		_, normal, err := h.Normal(h.ctx, device, archive.Which{Number: v.Number})
		h.must(err)
		_, raw, err := h.Raw(h.ctx, device, archive.Which{Number: v.Number})
		h.must(err)
		want := put[v.Digest+v.FirstSeen.String()]
		if string(normal) != string(want.Normal) || string(raw) != string(want.Raw) {
			h.Errorf("%s, version %d: %d bytes and %d raw ones are not the %d and %d that were put", device, v.Number, len(normal), len(raw), len(want.Normal), len(want.Raw))
		}
		if v.Size != len(normal) || v.RawSize != len(raw) {
			h.Errorf("%s, version %d: sizes %d and %d, of %d and %d", device, v.Number, v.Size, v.RawSize, len(normal), len(raw))
		}
	}
}

// line is the timeline of device d in short: number:digest@first-last in minutes, oldest first.
func (h *harness) line() (out []string) {
	h.Helper()
	for _, v := range h.versions("d") {
		out = append(out, fmt.Sprintf("%d:%s@%d-%d", v.Number, v.Digest[:4], minutes(v.FirstSeen), minutes(v.LastSeen)))
	}
	slices.Reverse(out)
	return out
}

func minutes(t time.Time) int { return int(t.Sub(Start) / time.Minute) }

// after is a time so many minutes after Start.
func after(n int) time.Time { return Start.Add(time.Duration(n) * time.Minute) }

// body is a text named by a word.
func body(word string) []byte {
	return fmt.Appendf(nil, "/system identity\nset name=%s\n%x\n", word, sha256.Sum256([]byte(word)))
}

func short(word string) string { return routeros.Digest(body(word))[:4] }

// snap is a snapshot of device d with the text of a word.
func snap(word string, minute int) archive.Snapshot { return Snapshot("d", after(minute), body(word)) }

func testTexts(h *harness) {
	put := map[string]archive.Snapshot{}
	for size, n := range map[int]int{1: 10, 1500: 70, 40_000: 10} { // 70: the 65th is whole again
		r := NewRouter(fmt.Sprint("r", size), "b", size)
		var batch []archive.Snapshot
		for i := range n {
			s := r.Snapshot(after(i))
			put[s.Digest+s.CollectedAt.String()] = s
			if batch = append(batch, s); i%10 == 9 {
				h.put(batch...)
				batch = nil
			}
			r.Change()
		}
		h.want("versions", len(h.versions(r.Name)), n)
		h.same(r.Name, put)
	}
	big := NewRouter("big", "b", 1<<20)
	for i := range 3 {
		s := big.Snapshot(after(i))
		put[s.Digest+s.CollectedAt.String()] = s
		h.put(s)
		big.Change()
	}
	h.same("big", put)

	s := snap("facts", 1)
	h.put(s)
	v, err := h.Version(h.ctx, "d", archive.Which{})
	h.must(err)
	if v.Archived.IsZero() {
		h.Error("no time of archiving")
	}
	v.Archived = time.Time{}
	h.want("version", fmt.Sprintf("%+v", v), fmt.Sprintf("%+v", archive.Version{
		Device: "d", Site: "a", Name: s.Name, Tenant: "default", Number: 1, Digest: s.Digest, FirstSeen: s.CollectedAt, LastSeen: s.CollectedAt,
		Size: len(s.Normal), RawSize: len(s.Raw), Normalization: 1, RouterOS: s.RouterOS, Proof: s.Proof, Model: s.Model, Serial: s.Serial,
		Identity: s.Identity, KnownGaps: s.KnownGaps, Trigger: s.Trigger, Attempt: s.Attempt, Seq: s.Seq,
	}))
	for word, change := range map[string]func(*archive.Snapshot){
		"no raw text": func(s *archive.Snapshot) { s.Raw = nil }, "raw is normal": func(s *archive.Snapshot) { s.Raw = s.Normal },
		"raw of before": func(s *archive.Snapshot) { s.Raw = body("facts") },
	} {
		s := Snapshot("x"+word[:2], after(2), body(word))
		s.Device = "odd"
		change(&s)
		s.CollectedAt = after(len(word))
		h.put(s)
		_, raw, err := h.Raw(h.ctx, "odd", archive.Which{Digest: s.Digest})
		if len(s.Raw) == 0 != errors.Is(err, archive.ErrNotFound) || string(raw) != string(s.Raw) {
			h.Errorf("%s: %q, %v", word, raw, err)
		}
	}
}

func testRefused(h *harness) {
	n := 0
	for name, change := range map[string]func(*archive.Snapshot){
		"digest": func(s *archive.Snapshot) { s.Digest = routeros.Digest(body("other")) }, "no digest": func(s *archive.Snapshot) { s.Digest = "" },
		"empty": func(s *archive.Snapshot) { s.Normal, s.Digest = nil, routeros.Digest(nil) }, "device": func(s *archive.Snapshot) { s.Device = "a b" },
		"site": func(s *archive.Snapshot) { s.Site = "A" }, "time": func(s *archive.Snapshot) { s.CollectedAt = time.Time{} },
		"normalization": func(s *archive.Snapshot) { s.Normalization = 0 }, "name": func(s *archive.Snapshot) { s.Name = "\xff" },
		"large": func(s *archive.Snapshot) { s.Raw = make([]byte, archive.TextMax+1) },
	} {
		n++
		bad := snap(name, 0)
		change(&bad)
		results, err := h.Put(h.ctx, []archive.Snapshot{snap("before "+name, 2*n), bad, snap("after "+name, 2*n+1)})
		h.must(err)
		h.want(name, []bool{results[0].Status == archive.New, results[1].Status == archive.Refused, results[2].Status == archive.New}, []bool{true, true, true})
		if !errors.Is(results[1].Err, archive.ErrRefused) {
			h.Errorf("%s: %v", name, results[1].Err)
		}
	}
	_, err := h.Put(h.ctx, make([]archive.Snapshot, archive.PutMax+1))
	h.want("too many", err != nil, true)
	bad, err := h.Seen(h.ctx, []archive.Sighting{{Device: "d", Site: "a", Digest: "xyz", At: after(1)}, {Device: "d", Site: "a", Digest: snap("x", 1).Digest}})
	h.must(err)
	h.want("impossible sightings", len(bad), 2)
}
