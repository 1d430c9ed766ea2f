package state_test

import (
	"context"
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/state"
)

const key = "berlin.r1"

func open(t *testing.T, c *natsio.Conn, report func(error)) *state.Store {
	t.Helper()
	s, err := state.Open(natsiotest.Within(t), c, state.Options{Report: report})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func store(t *testing.T) *state.Store {
	t.Helper()
	return open(t, natsiotest.Connect(t, natsiotest.StartServer(t)), nil)
}

// must gives the value of a call that may not fail.
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestOpenMakesWhatIsMissingAndChangesNothing(t *testing.T) {
	t.Parallel()
	c := natsiotest.Connect(t, natsiotest.StartServer(t))
	ctx := natsiotest.Within(t)
	if _, err := c.JetStream().CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "confhaul-state", History: 7, Storage: jetstream.FileStorage}); err != nil {
		t.Fatal(err)
	}
	must[uint64](t)(open(t, c, nil).PutState(ctx, key, backup.State{Failures: 3}, 0))
	if st, _, err := open(t, c, nil).State(ctx, key); err != nil || st.Failures != 3 {
		t.Fatalf("after a second Open: %+v, %v", st, err)
	}
	for name, want := range map[string]struct {
		history int64
		ttl     time.Duration
	}{
		"devices": {1, 0}, "hostkeys": {5, 0}, "state": {7, 0}, "sites": {1, 0}, "requests": {1, 24 * time.Hour}, "credentials": {1, 0}, "inventory": {1, 0},
	} {
		kv, err := c.JetStream().KeyValue(ctx, "confhaul-"+name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		status := must[jetstream.KeyValueStatus](t)(kv.Status(ctx))
		if cfg := status.Config(); status.History() != want.history || status.TTL() != want.ttl || cfg.Storage != jetstream.FileStorage {
			t.Errorf("%s: history %d, TTL %s, storage %s", name, status.History(), status.TTL(), cfg.Storage)
		}
	}
}

func TestPutStateComparesAndSets(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	if st, revision, err := s.State(ctx, key); err != nil || revision != 0 || !reflect.DeepEqual(st, backup.State{}) {
		t.Fatalf("nothing there: %+v, %d, %v", st, revision, err)
	}
	first := must[uint64](t)(s.PutState(ctx, key, backup.State{Failures: 1}, 0))
	if _, err := s.PutState(ctx, key, backup.State{Failures: 9}, 0); !errors.Is(err, backup.ErrConflict) || fault.KindOf(err) != fault.Infrastructure {
		t.Errorf("second create: %v, want a conflict", err)
	}
	second := must[uint64](t)(s.PutState(ctx, key, backup.State{Failures: 2}, first))
	if _, err := s.PutState(ctx, key, backup.State{Failures: 9}, first); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("stale update: %v, want a conflict", err)
	}
	if _, err := s.PutState(ctx, key, backup.State{Failures: 1}, second+1); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("update of a revision yet to come: %v, want a conflict", err)
	}
	for _, revision := range []uint64{first, 0} { // as after a lost answer
		if again, err := s.PutState(ctx, key, backup.State{Failures: 2}, revision); err != nil || again != second {
			t.Errorf("repeat of the same write: revision %d, %v, want %d", again, err, second)
		}
	}
	if st, revision, err := s.State(ctx, key); err != nil || st.Failures != 2 || revision != second {
		t.Errorf("got %+v, %d, %v", st, revision, err)
	}
	if all, err := s.States(ctx); err != nil || len(all) != 1 || all[key].Failures != 2 {
		t.Errorf("states: %+v, %v", all, err)
	}
}

func TestTrustHostKeyFirstOneWins(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	const callers = 10
	got := make([]device.HostKey, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			var err error
			if got[i], err = s.TrustHostKey(ctx, key, device.HostKey{Fingerprint: fmt.Sprint("SHA256:", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	stored, found, err := s.HostKey(ctx, key)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	for i, k := range got {
		if k.Fingerprint != stored.Fingerprint {
			t.Errorf("caller %d got %s, stored is %s", i, k.Fingerprint, stored.Fingerprint)
		}
	}
	for range 2 { // the second finds nothing
		if err := s.ForgetHostKey(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if k, err := s.TrustHostKey(ctx, key, device.HostKey{Fingerprint: "SHA256:new"}); err != nil || k.Fingerprint != "SHA256:new" {
		t.Errorf("after forgetting: %+v, %v", k, err)
	}
}

func TestSitesRequestsInventoryBreakers(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	window, err := device.ParseWindow("mon-fri 22:00-05:00 Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	site := device.Site{
		Name: "berlin", Limit: device.Unlimited, Opened: true, Rate: 0.5, Windows: device.Windows{window},
		Paused: &device.Pause{At: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), By: "anna@desk", Reason: "works"},
	}
	revision := must[uint64](t)(s.PutSite(ctx, site, 0))
	if got, r, err := s.Site(ctx, "berlin"); err != nil || !reflect.DeepEqual(got, site) || r != revision {
		t.Errorf("site: %+v, %d, %v", got, r, err)
	}
	if got, err := s.Sites(ctx); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], site) {
		t.Errorf("sites: %+v, %v", got, err)
	}
	if _, err := s.PutSite(ctx, device.Site{Name: "berlin"}, 0); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("site made twice: %v, want a conflict", err)
	}
	if _, found, err := s.Request(ctx, key); err != nil || found {
		t.Errorf("no request: %v, %v", found, err)
	}
	must[uint64](t)(s.PutRequest(ctx, key, backup.Request{ID: "a"}))
	must[uint64](t)(s.PutRequest(ctx, key, backup.Request{ID: "b"}))
	if got, found, err := s.Request(ctx, key); err != nil || !found || got.ID != "b" {
		t.Errorf("request: %+v, %v, %v", got, found, err)
	}
	revision = must[uint64](t)(s.PutInventory(ctx, device.Inventory{Digest: "d", Generation: 1}, 0))
	if got, r, err := s.Inventory(ctx); err != nil || got.Digest != "d" || r != revision {
		t.Errorf("inventory: %+v, %d, %v", got, r, err)
	}
	if _, err := s.PutInventory(ctx, device.Inventory{Digest: "e", Generation: 2}, revision+1); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("stale inventory: %v, want a conflict", err)
	}
	revision = must[uint64](t)(s.PutBreaker(ctx, "v/1 +", backup.Breaker{Trials: 2}, 0))
	if got, r, err := s.Breaker(ctx, "v/1 +"); err != nil || got.Trials != 2 || r != revision {
		t.Errorf("breaker: %+v, %d, %v", got, r, err)
	}
}

func TestOperationsOutliveARestart(t *testing.T) {
	t.Parallel()
	srv := natsiotest.StartServer(t)
	s := open(t, natsiotest.Connect(t, srv), nil)
	revision := must[uint64](t)(s.PutState(natsiotest.Within(t), key, backup.State{Failures: 1}, 0))
	srv.Stop()
	done := make(chan error, 3)
	go func() {
		_, err := s.PutState(natsiotest.Within(t), key, backup.State{Failures: 2}, revision)
		done <- err
	}()
	go func() { done <- s.PutDevice(natsiotest.Within(t), device.Device{Site: "berlin", ID: "r1"}) }()
	go func() { _, err := s.States(natsiotest.Within(t)); done <- err }()
	srv.Start()
	for range cap(done) {
		if err := natsiotest.Next(t, done); err != nil {
			t.Error(err)
		}
	}
	if st, _, err := s.State(natsiotest.Within(t), key); err != nil || st.Failures != 2 {
		t.Errorf("got %+v, %v", st, err)
	}
}

func TestOutageIsInfrastructure(t *testing.T) {
	t.Parallel()
	srv := natsiotest.StartServer(t)
	s := open(t, natsiotest.Connect(t, srv), nil)
	srv.Stop()
	_, _, err := s.State(t.Context(), key)
	if fault.KindOf(err) != fault.Infrastructure || !strings.HasPrefix(err.Error(), "read state: no answer from NATS within 5s") {
		t.Errorf("got %v, want the operation and its deadline", err)
	}
	cause := errors.New("lease lost")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err = s.Devices(ctx); fault.KindOf(err) != fault.Infrastructure || !errors.Is(err, cause) {
		t.Errorf("got %v, want the caller's cause", err)
	}
}
