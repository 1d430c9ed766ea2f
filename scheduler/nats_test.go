package scheduler

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
)

// TestNATSRestarts stops the registry's server and starts it again on its port and store: what was known goes on meanwhile,
// and what changes afterwards is seen.
func TestNATSRestarts(t *testing.T) {
	t.Parallel()
	o := embedded.NATSOptions{Dir: t.TempDir(), Token: embeddedtest.Token()}
	first := embeddedtest.NATS(t, o)
	u, err := url.Parse(first.URL().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if o.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	h := newHouseOn(t, first.URL())
	gone := newDevice("gone", "a", time.Minute)
	h.put(gone)
	r := h.schedule()
	h.awaitTask(gone, "scheduled")
	h.await("the site to be open", r.open)

	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	h.flush()
	h.awaitTask(gone, "scheduled") // from what is known
	embeddedtest.NATS(t, o)
	gone.Enabled = false
	h.put(gone)
	added := newDevice("added", "a", time.Minute)
	h.put(added)
	h.awaitTask(added, "scheduled")
	h.awaitTask(gone, "")
}
