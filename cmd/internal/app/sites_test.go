package app

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/queue"
	"github.com/confhaul/confhaul/pkg/state"
)

// newParts are parts on a real NATS and a real Redis.
func newParts(t *testing.T) *Parts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := natsio.Connect(ctx, natsio.Options{URL: embeddedtest.NATS(t, embedded.NATSOptions{}).URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	p := &Parts{Conn: conn}
	if p.Queue, err = queue.NewClient(queue.Address{URL: embeddedtest.Redis(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if p.Store, err = state.Open(ctx, conn, state.Options{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWithinWindows: a closed window lets no task through but those that somebody asked for.
func TestWithinWindows(t *testing.T) {
	t.Parallel()
	p, ctx := newParts(t), t.Context()
	known := state.NewLatest(p.Store)
	now := time.Now().UTC()
	window := func(from, to time.Duration) device.Windows {
		w, err := device.ParseWindow(now.Add(from).Format("15:04-") + now.Add(to).Format("15:04"))
		if err != nil {
			t.Fatal(err)
		}
		return device.Windows{w}
	}
	for name, windows := range map[string]device.Windows{"always": nil, "open": window(-time.Hour, time.Hour), "closed": window(2*time.Hour, 4*time.Hour)} {
		if err := p.Store.PutDevice(ctx, device.Device{ID: name, Site: name, Enabled: true}); err != nil {
			t.Fatal(err)
		}
		if err := p.AmendSite(ctx, name, func(s *device.Site) { s.Windows = windows }); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	run := withinWindows(known, func(context.Context, string, backup.Task) (backup.Next, error) {
		ran++
		return backup.Next{Action: backup.Stop}, nil
	})
	check := func(site string, want bool) {
		t.Helper()
		ran = 0
		next, err := run(ctx, site, backup.Task{Device: "r1", Reason: backup.ReasonSlot})
		wantAction := backup.Done
		if want {
			wantAction = backup.Stop
		}
		if err != nil || (ran == 1) != want || next.Action != wantAction {
			t.Errorf("%s: ran %d times, %+v, %v", site, ran, next, err)
		}
	}
	check("none", true) // a site that is yet to be recorded
	check("always", true)
	check("open", true)
	check("closed", false)
	key := device.Key("closed", "r1")
	if _, err := p.Store.PutRequest(ctx, key, backup.Request{ID: "q"}); err != nil {
		t.Fatal(err)
	}
	check("closed", true)
	if _, err := p.Store.PutState(ctx, key, backup.State{AttemptRevision: 1}, 0); err != nil {
		t.Fatal(err)
	}
	check("closed", false) // the request is served

	opens, _ := window(2*time.Hour, 4*time.Hour).Next(now)
	for early, want := range map[time.Duration]bool{windowSlack: false, windowSlack + time.Second: true} {
		if closed, err := closed(ctx, known, "closed", backup.Task{Device: "r1"}, opens.Add(-early)); err != nil || closed != want {
			t.Errorf("%s before the opening closed %v, %v", early, closed, err)
		}
	}

	cut, cancel := context.WithCancel(ctx)
	cancel()
	ran = 0
	if next, err := run(cut, "closed", backup.Task{Device: "r1"}); err == nil || ran != 0 || next.Action != backup.Again || next.Counted {
		t.Errorf("without an answer: ran %d times, %+v, %v", ran, next, err)
	}
}

// TestAmendSite changes one record from many sides at once: nothing is lost.
func TestAmendSite(t *testing.T) {
	t.Parallel()
	p, ctx := newParts(t), t.Context()
	if err := p.AmendSite(ctx, "riga", func(*device.Site) {}); err == nil {
		t.Error("a site without devices was changed")
	}
	if err := p.Store.PutDevice(ctx, device.Device{ID: "r1", Site: "riga", Enabled: true}); err != nil {
		t.Fatal(err)
	}
	window, err := device.ParseWindow("mon-fri 01:00-05:00 Europe/Riga")
	if err != nil {
		t.Fatal(err)
	}
	changes := []func(*device.Site){
		func(s *device.Site) { s.Limit = 5 }, func(s *device.Site) { s.Rate = 0.5 }, func(s *device.Site) { s.Opened = true },
		func(s *device.Site) { s.Paused = &device.Pause{By: "a test"} }, func(s *device.Site) { s.Windows = device.Windows{window, window} },
	}
	var wg sync.WaitGroup
	errs := make([]error, len(changes))
	for i, change := range changes {
		wg.Go(func() { errs[i] = p.AmendSite(ctx, "riga", change) })
	}
	wg.Wait()
	s, _, err := p.Store.Site(ctx, "riga")
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	if s.Limit != 5 || s.Rate != 0.5 || !s.Opened || s.Paused == nil || len(s.Windows) != 2 {
		t.Errorf("site %+v", s)
	}
	views, err := p.Sites(ctx)
	if err != nil || len(views) != 1 || views[0].Devices != 1 || views[0].InForce != nil {
		t.Errorf("sites %+v, %v", views, err)
	}
	limits := device.Limits{Sessions: 4, Rate: 2}
	if err := p.Queue.SetLimits(ctx, "riga", limits); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Queue.EnsureNow(ctx, "riga", backup.Task{Device: "r1"}, false); err != nil {
		t.Fatal(err)
	}
	views, err = p.Sites(ctx)
	if err != nil || len(views) != 1 || views[0].InForce == nil || *views[0].InForce != limits || views[0].Tasks["pending"] != 1 {
		t.Errorf("sites %+v, %v", views, err)
	}
}
