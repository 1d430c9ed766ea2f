// Package archivetest is what every archive.Store must pass, and routers with histories to fill one with.
package archivetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/routeros"
)

// dice throws the same numbers for the same start.
type dice uint64

// n throws one from 0 to sides-1.
func (d *dice) n(sides int) int {
	*d = *d*6364136223846793005 + 1442695040888963407
	x := *d ^ *d>>29
	return int((x*0x9e3779b97f4a7c15)>>32) % sides
}

// Start is the time of the first snapshots.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

// Router has a configuration that changes by a line at a time, the same for the same name.
type Router struct {
	Name  string
	Site  string
	dice  dice
	lines []string
}

// NewRouter makes one whose export has at least size bytes.
func NewRouter(name, site string, size int) *Router {
	r := &Router{Name: name, Site: site}
	for _, c := range []byte(name) {
		r.dice = r.dice*131 + dice(c)
	}
	for have := 0; have < size; {
		r.lines = append(r.lines, r.rule())
		have += len(r.lines[len(r.lines)-1]) + 1
	}
	return r
}

func (r *Router) rule() string {
	n := r.dice.n
	return fmt.Sprintf("add action=accept chain=forward comment=\"allow %08x\" dst-address=10.%d.%d.%d dst-port=%d protocol=tcp src-address-list=list-%d",
		n(1<<32), n(256), n(256), n(256), n(65536), n(20))
}

// Change replaces one line.
func (r *Router) Change() { r.lines[r.dice.n(len(r.lines))] = r.rule() }

// Snapshot is the router's export at a time, normal form and raw text.
func (r *Router) Snapshot(at time.Time) archive.Snapshot {
	var raw strings.Builder
	fmt.Fprintf(&raw, "# %s by RouterOS 7.15.3\r\n# software id = ABCD-1234\r\n#\r\n/system identity\r\nset name=%s\r\n/ip firewall filter\r\n", at.Format("2006-01-02 15:04:05"), r.Name)
	for _, l := range r.lines {
		raw.WriteString(l[:70] + "\\\r\n    " + l[70:] + "\r\n")
	}
	s := Snapshot(r.Name, at, routeros.Normalize(nil, []byte(raw.String())))
	s.Site, s.Raw = r.Site, []byte(raw.String())
	return s
}

// Snapshot is one of a device in site a with the given normal form. Its raw text is the form behind a line with the time.
func Snapshot(device string, at time.Time, normal []byte) archive.Snapshot {
	return archive.Snapshot{
		Device: device, Site: "a", Name: "router " + device, Tenant: "default", CollectedAt: at,
		Digest: routeros.Digest(normal), Normalization: 1, Normal: normal, Raw: []byte("# " + at.Format(time.RFC3339Nano) + "\r\n" + string(normal)),
		RouterOS: "7.15.3", Proof: "marker", Model: "RB5009", Serial: "HD1", Identity: device,
		KnownGaps: []string{"/ip foo"}, Trigger: "slot", Attempt: "a1", Seq: uint64(at.Unix()),
	}
}
