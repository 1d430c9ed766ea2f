package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// triggerReply is an answer as callers read it that know nothing of confhaul's code.
type triggerReply struct {
	Status  string `json:"status"`
	Hash    string `json:"sha256_hash"`
	Message string `json:"message"`
	Error   string `json:"error"`
}

// caller asks for backups with a plain NATS client.
type caller struct {
	*testing.T
	nc *nats.Conn
}

func newCaller(t *testing.T, url string) caller {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return caller{t, nc}
}

func (c caller) ask(request string) triggerReply {
	c.Helper()
	m, err := c.nc.Request("config.backup.trigger", []byte(request), eventTimeout)
	if err != nil {
		c.Fatalf("%s: %v", request, err)
	}
	return c.read(m)
}

func (c caller) read(m *nats.Msg) triggerReply {
	c.Helper()
	var r triggerReply
	if err := json.Unmarshal(m.Data, &r); err != nil {
		c.Fatalf("%v in %s", err, m.Data)
	}
	if strings.Contains(string(m.Data), `:""`) {
		c.Errorf("an empty field is sent: %s", m.Data)
	}
	return r
}

// send asks without waiting; the answers come on the channel.
func (c caller) send(requests ...string) <-chan *nats.Msg {
	c.Helper()
	answers, inbox := make(chan *nats.Msg, 256), nats.NewInbox()
	if _, err := c.nc.ChanSubscribe(inbox, answers); err != nil {
		c.Fatal(err)
	}
	for _, r := range requests {
		if err := c.nc.PublishRequest("config.backup.trigger", inbox, []byte(r)); err != nil {
			c.Fatal(err)
		}
	}
	return answers
}

func (c caller) next(answers <-chan *nats.Msg) triggerReply {
	c.Helper()
	select {
	case m := <-answers:
		return c.read(m)
	case <-time.After(eventTimeout):
		c.Fatal("no answer")
		panic("unreachable")
	}
}

// awaitScheduler returns when a scheduler answers and knows the fleet.
func (c caller) awaitScheduler() {
	c.Helper()
	eventually(c.T, "a scheduler that knows the fleet", func() bool {
		m, err := c.nc.Request("config.backup.trigger", []byte(`{"device_id":"router-0001","tenant_id":"nobody"}`), eventTimeout)
		return err == nil && strings.Contains(c.read(m).Error, "tenant")
	})
}

// TestTrigger asks two schedulers for backups, and a worker makes them.
func TestTrigger(t *testing.T) {
	t.Parallel()
	fleet, config := fleetFiles(t, routersim.Options{Devices: 4, Seed: 21, Sites: []string{"riga", "oslo"}, Versions: []string{"7.20.2"}, Size: 4000}, askedOnly)
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	vars := []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats}
	startProcess(t, vars, "scheduler", "--config", config, "--listen", "127.0.0.1:0")
	startProcess(t, vars, "scheduler", "--config", config, "--listen", "127.0.0.1:0")
	startProcess(t, vars, "worker", "--config", config, "--listen", "127.0.0.1:0")
	c := newCaller(t, nats)
	c.awaitScheduler()

	first := c.ask(`{"device_id":"router-0001","tenant_id":"default"}`)
	events := readSnapshots(t, nats)
	if len(events) != 1 || first.Status != "success" || first.Hash != events[0].Hash || !strings.Contains(first.Message, "new snapshot") || first.Error != "" {
		t.Fatalf("first: %+v, snapshots %+v", first, events)
	}
	second := c.ask(`{"device_id":"router-0001"}`)
	if second.Status != "success" || second.Hash != first.Hash || !strings.Contains(second.Message, "unchanged") {
		t.Errorf("unchanged: %+v", second)
	}
	if n := len(fleet.Sessions()); n != 2 {
		t.Errorf("%d sessions for 2 backups", n)
	}

	for request, want := range map[string]string{
		`{"device_id":"router-9999"}`:                       "not in the registry",
		`{"device_id":"router-0001","tenant_id":"another"}`: `tenant "another"`,
		`{"device_id":"*"}`:                                 "not a device id",
		`{"tenant_id":"default"}`:                           "not a device id",
		`{"device_id":`:                                     "the request is not",
		`["router-0001"]`:                                   "the request is not",
		``:                                                  "the request is not",
		`{"device_id":"router-0001", "tenant_id":"default"} and`: "the request is not",
	} {
		if r := c.ask(request); r.Status != "failed" || !strings.Contains(r.Error, want) {
			t.Errorf("%s: %+v", request, r)
		}
	}
	c.blocked(fleet)
	c.locked(fleet)
	c.once()
	noOverlap(t, fleet)
	if n := len(readSnapshots(t, nats)); n != 2 { // of router-0001 and of the one that changes its host key
		t.Errorf("%d snapshots", n)
	}
}

// blocked has a device block, and asks again: it is told why, and the router hears nothing of it.
func (c caller) blocked(fleet *routersim.Fleet) {
	c.Helper()
	if err := fleet.Router("router-0002").SetFault(routersim.WrongPassword); err != nil {
		c.Fatal(err)
	}
	c.ask(`{"device_id":"router-0003"}`)
	fleet.Router("router-0003").RotateHostKey()
	for id, want := range map[string]string{"router-0002": "confhaul unblock router-0002", "router-0003": "hostkey accept router-0003"} {
		if r := c.ask(`{"device_id":"` + id + `"}`); r.Status != "failed" || !strings.Contains(r.Error, want) {
			c.Errorf("%s blocks: %+v", id, r)
		}
		before := len(fleet.Sessions())
		if r := c.ask(`{"device_id":"` + id + `"}`); r.Status != "failed" || !strings.Contains(r.Error, "blocked: since") || !strings.Contains(r.Error, want) {
			c.Errorf("%s is blocked: %+v", id, r)
		}
		if n := len(fleet.Sessions()); n != before {
			c.Errorf("%s is blocked: %d sessions", id, n-before)
		}
	}
}

// locked asks while a session is open; who asked first gets the outcome.
func (c caller) locked(fleet *routersim.Fleet) {
	c.Helper()
	router := fleet.Router("router-0001")
	router.SetDelay(10 * time.Second)
	defer router.SetDelay(0)
	answers := c.send(`{"device_id":"router-0001"}`)
	ctx, cancel := context.WithTimeout(c.Context(), eventTimeout)
	defer cancel()
	if err := fleet.WaitSessions(ctx, func(all []routersim.Session) bool {
		for _, s := range all {
			if s.Open && s.Device == "router-0001" {
				return true
			}
		}
		return false
	}); err != nil {
		c.Fatal(err)
	}
	if r := c.ask(`{"device_id":"router-0001"}`); r.Status != "locked" || !strings.Contains(r.Message, "under way") || r.Error != "" {
		c.Errorf("a session is open: %+v", r)
	}
	if r := c.next(answers); r.Status != "success" {
		c.Errorf("who asked first: %+v", r)
	}
}

// once counts answers: two schedulers hear the subject, and one of them answers.
func (c caller) once() {
	c.Helper()
	const requests = 30
	answers := c.send(make([]string, requests)...)
	for range requests {
		c.next(answers)
	}
	c.ask(`{"device_id":"router-0001"}`) // either scheduler had its turn meanwhile
	if n := len(answers); n > 0 {
		c.Errorf("%d answers too many to %d requests", n, requests)
	}
}

// TestTriggerStops: a scheduler that ends tells those who wait, and what was asked for stands.
func TestTriggerStops(t *testing.T) {
	t.Parallel()
	_, config := fleetFiles(t, routersim.Options{Devices: 1, Seed: 22}, askedOnly)
	redis, nats := embeddedtest.Redis(t).Reveal(), embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal()
	vars := []string{"CONFHAUL_REDIS=" + redis, "CONFHAUL_NATS=" + nats}
	scheduler := startProcess(t, vars, "scheduler", "--config", config, "--listen", "127.0.0.1:0") // and no worker
	c := newCaller(t, nats)
	c.awaitScheduler()
	js, err := jetstream.New(c.nc)
	if err != nil {
		t.Fatal(err)
	}
	requests, err := js.KeyValue(t.Context(), "confhaul-requests")
	if err != nil {
		t.Fatal(err)
	}
	answers := c.send(`{"device_id":"router-0001"}`)
	stands := func() bool {
		_, err := requests.Get(t.Context(), "default.router-0001")
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	eventually(t, "the request", stands)
	if code := scheduler.stop(t); code != 0 {
		t.Errorf("the scheduler ends with %d", code)
	}
	if r := c.next(answers); r.Status != "failed" || !strings.HasPrefix(r.Error, "stopping") {
		t.Errorf("a scheduler that ends answers %+v", r)
	}
	if !stands() {
		t.Error("the request is gone")
	}
}
