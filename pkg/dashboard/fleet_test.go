package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// lab is the pages over a fleet of its own, with what they ask for standing beside it.
type lab struct {
	fleet *Fleet
	pages http.Handler

	mu      sync.Mutex
	done    []string // what was done
	audited []Action
	refuse  error // of the audit
}

const labSites = 40

// stateOf is the state of the i-th device of a lab: of 100, one blocked for its login, one for its host key, three failing and
// one pending.
func stateOf(i int, now time.Time) backup.State {
	good := now.Add(-time.Duration(i%300) * time.Minute)
	s := backup.State{
		V: 1, GoodStarted: good, GoodAt: good, Result: backup.ResultUnchanged, Version: "7.16.1", Identity: fmt.Sprintf("router-%d", i),
		Bytes: 40_000 + i, Proof: "marker", AttemptStarted: good, AttemptEnded: good, Digest: fmt.Sprintf("%064d", i),
	}
	switch i % 100 {
	case 7:
		s.Result, s.Kind, s.Reason = backup.ResultBlocked, fault.Auth, "login: the router refused the password of admin"
		s.Block = &backup.Block{Kind: fault.Auth, Reason: s.Reason, At: good}
	case 8:
		s.Result, s.Kind = backup.ResultBlocked, fault.HostKey
		s.Reason = "handshake: the host key is SHA256:Zq2bSxhMZjSJjNzhYGWtHjI2QJmXJmuUjm9VYQxQAbc, on record is SHA256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg: compare the shown fingerprint with the router, then use `confhaul hostkey accept DEVICE`"
		s.Block = &backup.Block{Kind: fault.HostKey, Reason: s.Reason, At: good, HostKey: &device.HostKey{Fingerprint: "SHA256:Zq2bSxhMZjSJjNzhYGWtHjI2QJmXJmuUjm9VYQxQAbc"}}
	case 20, 21, 22:
		s.Result, s.Kind, s.Reason, s.Failures = backup.ResultFailed, fault.Timeout, "dial: no answer within 10s", 4
		s.GoodStarted = now.Add(-time.Duration(i%60) * time.Hour)
	case 30:
		return backup.State{}
	case 40:
		s.Legacy = []string{"ssh-rsa"}
	}
	return s
}

func newLab(tb testing.TB, devices int) *lab {
	tb.Helper()
	l := &lab{fleet: NewFleet(6 * time.Hour)}
	now := time.Now()
	apply := func(c backup.Change) {
		if err := l.fleet.Apply(c); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range devices {
		d := device.Device{
			ID: fmt.Sprintf("edge-%05d", i), Name: fmt.Sprintf("Edge router %d", i), Address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Port: 22,
			Site: fmt.Sprintf("site-%02d", i%labSites), Tenant: "default", Credential: "fleet", Enabled: true, FirstSeen: now.Add(-300 * time.Hour),
		}
		apply(backup.Change{Bucket: backup.BucketDevices, Key: d.Key(), Device: d})
		if s := stateOf(i, now); s.V > 0 {
			apply(backup.Change{Bucket: backup.BucketState, Key: d.Key(), State: s})
		}
	}
	for i := range labSites {
		s := device.Site{Name: fmt.Sprintf("site-%02d", i), Opened: true}
		switch i {
		case 3:
			s.Paused = &device.Pause{At: now.Add(-time.Hour), By: "anna", Reason: "core upgrade"}
		case 4:
			s.Limit, s.Rate = 20, 0.5
		}
		apply(backup.Change{Bucket: backup.BucketSites, Key: device.Encode(s.Name), Site: s})
	}
	refusals := []string{device.Key("site-07", "edge-00007"), device.Key("site-27", "edge-00107")}
	apply(backup.Change{Bucket: backup.BucketCredentials, Key: "v1", Breaker: backup.Breaker{
		Credential: "old-fleet", Refusals: refusals, Since: now.Add(-time.Hour), PausedUntil: now.Add(time.Hour),
	}})
	for i := range 30 {
		if err := l.fleet.Changed(backup.Diff{
			DeviceID: fmt.Sprintf("edge-%05d", i), Site: fmt.Sprintf("site-%02d", i), Version: 3, LinesAdded: i % 4, LinesRemoved: 1, CollectedAt: now.Add(time.Duration(i-60) * time.Minute),
			Summary: "firewall filter: rule \"drop telnet\" added; ppp secret bob: password changed; ip address 10.0.0.1/24: interface bridge -> vlan20",
		}); err != nil {
			tb.Fatal(err)
		}
	}
	l.fleet.Ready()
	l.pages = New(Options{
		Fleet: l.fleet, Queues: l, History: l, Operations: l, Auditor: l, Connected: func() bool { return true }, SiteLimit: device.Unlimited,
		Log: slog.New(slog.DiscardHandler),
		Monitor: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("queues " + r.URL.Path))
		}),
	})
	return l
}

// as serves the pages to a user.
func (l *lab) as(role Role) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.pages.ServeHTTP(w, r.WithContext(WithUser(r.Context(), User{Name: "anna", Role: role})))
	})
}

func (l *lab) note(format string, args ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, fmt.Sprintf(format, args...))
	return nil
}

// change applies what a watch would bring.
func (l *lab) change(key string, to func(*record)) {
	r := *l.fleet.known(key)
	to(&r)
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketState, Key: key, State: r.state})
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketRequests, Key: key, Request: r.request})
}

func (l *lab) Backup(_ context.Context, d device.Device, by string) error {
	if d.ID == "edge-00007" {
		return fault.New(fault.Auth, "blocked", "since noon")
	}
	l.change(d.Key(), func(r *record) { r.request = backup.Request{ID: "x", Since: 9, By: by, At: time.Now()} })
	return l.note("backup %s by %s", d.ID, by)
}

func (l *lab) Unblock(_ context.Context, d device.Device) error {
	l.change(d.Key(), func(r *record) { r.state.Block = nil })
	return l.note("unblock %s", d.ID)
}

func (l *lab) PauseSite(_ context.Context, site, reason, by string) error {
	s := l.fleet.site(site)
	s.Paused = &device.Pause{At: time.Now(), By: by, Reason: reason}
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketSites, Key: device.Encode(site), Site: s})
	return l.note("pause %s: %s by %s", site, reason, by)
}

func (l *lab) ResumeSite(_ context.Context, site string) error {
	s := l.fleet.site(site)
	s.Paused = nil
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketSites, Key: device.Encode(site), Site: s})
	return l.note("resume %s", site)
}

func (l *lab) ResumeCredential(_ context.Context, name string) error {
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketCredentials, Key: "v1", Deleted: true})
	return l.note("resume credential %s", name)
}

func (l *lab) Audit(_ context.Context, a Action) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse == nil {
		l.audited = append(l.audited, a)
	}
	return l.refuse
}

func (l *lab) Counts(_ context.Context, sites []string) (map[string]map[string]int, error) {
	out := map[string]map[string]int{}
	for i, s := range sites {
		out[s] = map[string]int{"pending": 3 * i, "active": i % 3, "scheduled": 250}
	}
	return out, nil
}

func (l *lab) Limits(_ context.Context, sites []string) (map[string]device.Limits, error) {
	out := map[string]device.Limits{}
	for _, s := range sites {
		out[s] = device.Limits{Sessions: device.Unlimited}
	}
	return out, nil
}

func (l *lab) ServedSites() (map[string]bool, error) {
	out := map[string]bool{}
	for i := range labSites {
		out[fmt.Sprintf("site-%02d", i)] = i != 5
	}
	return out, nil
}

func (l *lab) Versions(_ context.Context, id string, limit int) ([]Version, error) {
	if id == "edge-00001" {
		return nil, fmt.Errorf("%w: nothing in /somewhere", ErrNoHistory)
	}
	var out []Version
	for n := limit; n > 0; n-- {
		at := time.Now().Add(time.Duration(n-60) * 24 * time.Hour)
		out = append(out, Version{n, n > 1, at, at.Add(23 * time.Hour), "7.16.1", 41_000 + n, n % 3, 1, "ip firewall filter: rule \"drop telnet\" added"})
	}
	return out, nil
}

func (l *lab) Diff(_ context.Context, id string, from, to int, secrets bool) (Diff, error) {
	if to > 100 {
		return Diff{}, errors.New("no such version")
	}
	if from > 100 {
		return Diff{}, fault.New(fault.Infrastructure, "compare", "try again")
	}
	hidden := "(hidden)"
	if secrets {
		hidden = "hunter2"
	}
	text := fmt.Sprintf("--- %s @%d\n+++ %s @%d\n@@ -1,4 +1,4 @@\n /ppp secret\n add name=bob password=%s\n-add name=carl comment=<b>old</b>\n+add name=carl comment=%s\n", id, from, id, to, hidden, strings.Repeat("long ", 60))
	return Diff{From: Version{Number: from, First: time.Now()}, To: Version{Number: to, First: time.Now(), Added: 1, Removed: 1}, Text: text}, nil
}

// get reads a page.
func get(tb testing.TB, h http.Handler, path string) (int, string) {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// TestPicture: who stands how, where, and in which order.
func TestPicture(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1000)
	p := l.fleet.Picture(time.Now())
	if p.All.All != 1000 || p.All.Blocked != 20 || p.All.Failing != 30 || p.All.Pending != 10 || p.All.OK != 940 {
		t.Errorf("%+v", p.All)
	}
	if len(p.Sites) != labSites || p.Sites[0].Site.Name != "site-00" || p.Sites[0].All != 25 {
		t.Errorf("%d sites, %+v", len(p.Sites), p.Sites[0])
	}
	if !slices.IsSortedFunc(p.Rows, worst) || p.Rows[0].Status() != backup.StatusBlocked || p.Rows[999].Status() != backup.StatusOK {
		t.Error("rows are not worst first")
	}
	stale := 0
	for _, r := range p.Rows {
		if r.Stale {
			stale++
		}
	}
	if stale == 0 || stale != p.All.Stale { // pending ones, first seen long ago, and failing ones
		t.Errorf("%d stale, counted %d", stale, p.All.Stale)
	}
	for _, tc := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 1000}, {Filter{Status: "blocked"}, 20}, {Filter{Status: "blocked", Kind: "auth"}, 10}, {Filter{Site: "site-07"}, 25},
		{Filter{Status: "stale"}, stale}, {Filter{Text: " EDGE-00007 "}, 1}, {Filter{Text: "10.0.1."}, 256}, {Filter{Site: "none"}, 0},
	} {
		rows, all := p.list(tc.f, 0, 50)
		if all != tc.want || len(rows) != min(50, tc.want) {
			t.Errorf("%+v: %d rows of %d, want %d", tc.f, len(rows), all, tc.want)
		}
	}
	if rows, _ := p.list(Filter{}, 19, 50); len(rows) != 50 || rows[49].ID() != p.Rows[999].ID() {
		t.Error("the last page is not the end")
	}
}

// TestFleetFollows: what comes is seen in a picture after pictureMin, devices that go are gone, and the disabled are not told.
func TestFleetFollows(t *testing.T) {
	t.Parallel()
	l := newLab(t, 10)
	at := time.Now()
	first := l.fleet.Picture(at)
	d := first.Rows[0].device
	if l.fleet.Picture(at.Add(pictureMin)) != first {
		t.Error("nothing changed, and another picture was made")
	}
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketDevices, Key: d.Key(), Deleted: true})
	if l.fleet.Picture(at.Add(pictureMin/2)) != first {
		t.Error("a picture was made within pictureMin of the last")
	}
	if p := l.fleet.Picture(at.Add(pictureMin)); p.All.All != 9 {
		t.Errorf("%d devices after one went", p.All.All)
	}
	off := first.Rows[1].device
	off.Enabled = false
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketDevices, Key: off.Key(), Device: off})
	if p := l.fleet.Picture(at.Add(2 * pictureMin)); p.All.All != 8 {
		t.Errorf("%d devices after one was disabled", p.All.All)
	}
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketState, Key: d.Key(), Deleted: true})
	_ = l.fleet.Apply(backup.Change{Bucket: backup.BucketSites, Key: "site-39", Deleted: true})
	if p := l.fleet.Picture(at.Add(3 * pictureMin)); l.fleet.known(d.Key()) != nil || len(p.Sites) != labSites-1 {
		t.Error("what went is still remembered")
	}
}

// TestChangesAreBounded: the newest stay.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	f := NewFleet(time.Hour)
	for i := range changesMax + 5 {
		_ = f.Changed(backup.Diff{Version: i, Site: []string{"a", "b"}[i%2], Text: "long"})
	}
	got := f.recent("", 2*changesMax)
	if len(got) != changesMax || got[0].Version != changesMax+4 || got[changesMax-1].Version != 5 || got[0].Text != "" {
		t.Errorf("%d changes, from %d", len(got), got[0].Version)
	}
	if some := f.recent("a", 3); len(some) != 3 || some[0].Version != changesMax+4 {
		t.Errorf("%+v", some)
	}
}

// TestMovedDevice has a device move to another site in every order in which the watches of two buckets may tell it.
func TestMovedDevice(t *testing.T) {
	t.Parallel()
	old := device.Device{ID: "edge", Site: "riga", Enabled: true}
	moved := old
	moved.Site = "oslo"
	good := backup.State{V: 1, GoodStarted: time.Now()}
	devices := []backup.Change{{Bucket: backup.BucketDevices, Key: moved.Key(), Device: moved}, {Bucket: backup.BucketDevices, Key: old.Key(), Deleted: true}}
	states := []backup.Change{{Bucket: backup.BucketState, Key: moved.Key(), State: good}, {Bucket: backup.BucketState, Key: old.Key(), Deleted: true}}
	for _, order := range []string{"ddss", "dsds", "dssd", "sdds", "sdsd", "ssdd"} {
		f := NewFleet(time.Hour)
		changes := []backup.Change{{Bucket: backup.BucketDevices, Key: old.Key(), Device: old}, {Bucket: backup.BucketState, Key: old.Key(), State: good}}
		next := map[rune][]backup.Change{'d': devices, 's': states}
		for _, bucket := range order {
			changes = append(changes, next[bucket][0])
			next[bucket] = next[bucket][1:]
		}
		for _, c := range changes {
			if err := f.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		if row, ok := f.device("edge", time.Now()); !ok || row.device.Site != "oslo" || len(f.records) != 1 {
			t.Errorf("%s: found %t, %d records", order, ok, len(f.records))
		}
	}
}
