package state

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
)

// TestLatest: it answers as the store does, before it follows and while it does, from memory where it may.
func TestLatest(t *testing.T) {
	t.Parallel()
	srv, conn, s := openStore(t)
	ctx := natsiotest.Within(t)
	const version, key = "v:1", "berlin.r1"
	l := NewLatest(s)
	check := func(when string, limit, trials int, requested bool) {
		t.Helper()
		await(t, when, func() bool {
			site, _, err1 := l.Site(ctx, "berlin")
			b, _, err2 := l.Breaker(ctx, version)
			_, found, err3 := l.Request(ctx, key, false)
			return errors.Join(err1, err2, err3) == nil && site.Limit == limit && b.Trials == trials && found == requested
		})
	}
	check("nothing", 0, 0, false)
	site := must(s.PutSite(ctx, device.Site{Name: "berlin", Limit: 5}, 0))(t)
	breaker := must(s.PutBreaker(ctx, version, backup.Breaker{Trials: 1}, 0))(t)
	check("before it follows", 5, 1, false)

	following, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Follow(following) }()
	await(t, "ready", func() bool { l.mu.RLock(); defer l.mu.RUnlock(); return l.fresh() })
	check("at first", 5, 1, false)
	must(s.PutSite(ctx, device.Site{Name: "berlin", Limit: 6}, site))(t)
	breaker = must(s.PutBreaker(ctx, version, backup.Breaker{Trials: 2}, breaker))(t)
	must(s.PutRequest(ctx, key, backup.Request{ID: "q"}))(t)
	check("after changes", 6, 2, true)

	// One's own writes are there at once, and who lost reads what won.
	breaker = must(l.PutBreaker(ctx, version, backup.Breaker{Trials: 3}, breaker))(t)
	if b, at, err := l.Breaker(ctx, version); err != nil || b.Trials != 3 || at != breaker {
		t.Errorf("after one's own write: %+v at %d, %v", b, at, err)
	}
	won := must(s.PutBreaker(ctx, version, backup.Breaker{Trials: 4}, breaker))(t)
	if _, err := l.PutBreaker(ctx, version, backup.Breaker{Trials: 9}, breaker); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("over another's write: %v", err)
	}
	if b, at, err := l.Breaker(ctx, version); err != nil || b.Trials != 4 || at != won {
		t.Errorf("after a conflict: %+v at %d, %v", b, at, err)
	}
	if err := s.DeleteBreaker(ctx, version); err != nil {
		t.Fatal(err)
	}
	check("after a deletion", 6, 0, true)

	// Memory answers, unless it is known that there must be something, or the server is away.
	l.mu.Lock()
	l.sites[device.Encode("berlin")] = record[device.Site]{value: device.Site{Limit: 77}}
	delete(l.requests, key)
	l.mu.Unlock()
	check("from memory", 77, 0, false)
	if _, found, err := l.Request(ctx, key, true); err != nil || !found {
		t.Errorf("a request that must be there: %v, %v", found, err)
	}
	srv.Stop()
	await(t, "the loss of the server", func() bool { return !conn.Connected() })
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := l.Site(short, "berlin"); err == nil {
		t.Error("memory answers though nobody knows what stands")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRemembered: a device and a host key are read once, and again after a change.
func TestRemembered(t *testing.T) {
	t.Parallel()
	srv, conn, s := openStore(t)
	ctx := natsiotest.Within(t)
	d := device.Device{ID: "r1", Site: "berlin", Name: "one"}
	hostKey := device.HostKey{Fingerprint: "SHA256:one"}
	if err := s.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	revision := must(s.PutHostKey(ctx, d.Key(), hostKey, 0))(t)
	l := NewLatest(s)
	following, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Follow(following) }()
	await(t, "ready", func() bool { l.mu.RLock(); defer l.mu.RUnlock(); return l.fresh() })
	check := func(when, name, fingerprint string) {
		t.Helper()
		await(t, when, func() bool {
			got, found1, err1 := l.Device(ctx, d.Key())
			k, found2, err2 := l.HostKey(ctx, d.Key(), false)
			return errors.Join(err1, err2) == nil && found1 == (name != "") && found2 == (fingerprint != "") && got.Name == name && k.Fingerprint == fingerprint
		})
	}
	check("read", "one", "SHA256:one")
	spoil := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.devices.records[d.Key()] = device.Device{Name: "remembered"}
		l.hostKeys.records[d.Key()] = device.HostKey{Fingerprint: "SHA256:remembered"}
	}
	spoil()
	check("remembered", "remembered", "SHA256:remembered")
	if k, _, err := l.HostKey(ctx, d.Key(), true); err != nil || k.Fingerprint != hostKey.Fingerprint {
		t.Errorf("read anew: %+v, %v", k, err)
	}
	d.Name, hostKey.Fingerprint = "two", "SHA256:two"
	if err := s.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	must(s.PutHostKey(ctx, d.Key(), hostKey, revision))(t)
	check("changed", "two", "SHA256:two")
	spoil()
	if err := s.DeleteDevice(ctx, d.Key()); err != nil {
		t.Fatal(err)
	}
	if err := s.ForgetHostKey(ctx, d.Key()); err != nil {
		t.Fatal(err)
	}
	check("deleted", "", "")

	// What changes while the server is away is heard when it is back.
	if err := s.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	check("back", "two", "")
	spoil()
	srv.Stop()
	await(t, "the loss of the server", func() bool { return !conn.Connected() })
	srv.Start()
	other := natsiotest.Connect(t, srv)
	s2 := must(Open(natsiotest.Within(t), other, Options{}))(t)
	d.Name = "three"
	if err := s2.PutDevice(ctx, d); err != nil {
		t.Fatal(err)
	}
	await(t, "a change after a restart", func() bool { got, _, err := l.Device(ctx, d.Key()); return err == nil && got.Name == "three" })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// openStore opens an empty store on a server of its own.
func openStore(t *testing.T) (*natsiotest.Server, *natsio.Conn, *Store) {
	t.Helper()
	srv := natsiotest.StartServer(t)
	conn := natsiotest.Connect(t, srv)
	return srv, conn, must(Open(natsiotest.Within(t), conn, Options{}))(t)
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(natsiotest.Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestLatestOfOneSite knows the changes of its site, and asks the server about another one each time.
func TestLatestOfOneSite(t *testing.T) {
	t.Parallel()
	_, _, s := openStore(t)
	ctx := natsiotest.Within(t)
	for _, site := range []string{"riga", "oslo"} {
		if err := s.PutDevice(ctx, device.Device{ID: "r1", Site: site, Name: "old"}); err != nil {
			t.Fatal(err)
		}
		must(s.PutSite(ctx, device.Site{Name: site, Limit: 1}, 0))(t)
		must(s.PutState(ctx, site+".r1", backup.State{Failures: 1}, 0))(t)
		must(s.PutRequest(ctx, site+".r1", backup.Request{ID: site}))(t)
	}
	l := NewLatest(s, "riga")
	done := make(chan error, 1)
	following, stop := context.WithCancel(t.Context())
	go func() { done <- l.Follow(following) }()
	await(t, "ready", func() bool { l.mu.RLock(); defer l.mu.RUnlock(); return l.fresh() })
	name := func(key string) string {
		d, _, err := l.Device(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		return d.Name
	}
	for _, site := range []string{"riga", "oslo"} {
		key := site + ".r1"
		if got := name(key); got != "old" {
			t.Errorf("%s: %s", site, got)
		}
		if err := s.PutDevice(ctx, device.Device{ID: "r1", Site: site, Name: "new"}); err != nil {
			t.Fatal(err)
		}
		for name(key) != "new" {
			if ctx.Err() != nil {
				t.Fatalf("%s: the change never came", site)
			}
		}
		if got, _, err := l.Site(ctx, site); err != nil || got.Limit != 1 {
			t.Errorf("%s: %+v %v", site, got, err)
		}
		if got, found, err := l.Request(ctx, key, false); err != nil || !found || got.ID != site {
			t.Errorf("%s: %+v %v %v", site, got, found, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if states, err := s.States(ctx, "riga"); err != nil || len(states) != 1 || states["riga.r1"].Failures != 1 {
		t.Errorf("states of riga: %+v %v", states, err)
	}
}
