// Package bench measures what a sweep over a fleet costs: a bare SSH loop as the floor, and beside it what the processes of
// confhaul use for the same routers. Statistics, the reading of metrics and profiles, and the attribution of CPU time to
// parts are pure; child.go, fleet.go and bare.go have the effects. Only Linux tells what another process has used.
package bench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// Load is what is asked of both sides.
type Load struct {
	Devices  int     `json:"devices"`
	Size     int     `json:"size"` // bytes of each export, at least
	Sessions int     `json:"sessions"`
	DelayS   float64 `json:"delay_s"`        // before the first byte of each export
	Slow     bool    `json:"slow,omitempty"` // exports come as a trickle
	Sites    int     `json:"sites"`
}

// Bounds of a load.
const (
	SizeMin    = 5_000 // below it a simulated router prints more than it is asked to
	SizeMax    = 15_000_000
	DevicesMax = routersim.DevicesMax
	DelayMax   = 50 * time.Second
)

// Check says what is wrong with a load, one line for each flaw.
func (l Load) Check() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(l.Devices < 1 || l.Devices > DevicesMax, "--devices %d: use 1 to %d", l.Devices, DevicesMax)
	refuse(l.Size < SizeMin || l.Size > SizeMax, "--size %d: use %d to %d bytes", l.Size, SizeMin, SizeMax)
	refuse(l.Sessions < 1, "--sessions %d: use at least 1", l.Sessions)
	refuse(l.Sites < 1 || l.Sites > l.Devices, "--sites %d: use 1 to the number of devices", l.Sites)
	refuse(l.DelayS < 0 || l.Delay() > DelayMax, "--delay %s: use 0 to %s", l.Delay(), DelayMax)
	return errors.Join(errs...)
}

// Delay is DelayS as a duration.
func (l Load) Delay() time.Duration { return time.Duration(l.DelayS * float64(time.Second)) }

// AtOnce is how many sessions can be open at once.
func (l Load) AtOnce() int { return min(l.Sessions, l.Devices) }

// SiteNames are the sites that the routers are dealt to.
func (l Load) SiteNames() []string {
	if l.Sites == 1 {
		return []string{device.DefaultSite}
	}
	names := make([]string, 0, l.Sites)
	for i := range l.Sites {
		names = append(names, fmt.Sprintf("site-%03d", i+1))
	}
	return names
}

// ParseSize reads a number of bytes such as 100KB, 2MB, 64KiB or 5000.
func ParseSize(text string) (int, error) {
	number, scale := strings.TrimSpace(text), 1
	for _, unit := range []struct {
		name  string
		bytes int
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"KB", 1e3}, {"MB", 1e6}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(number, unit.name); ok {
			number, scale = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n > 0) || n*float64(scale) > 1e12 {
		return 0, fmt.Errorf("size %q: use a number of bytes, or one with KB, MB, KiB or MiB", text)
	}
	return int(n * float64(scale)), nil
}

// Algorithms are what a connection agreed on, by SSH names; MAC is empty where the cipher needs none.
type Algorithms struct {
	KeyExchange string `json:"key_exchange"`
	Cipher      string `json:"cipher"`
	MAC         string `json:"mac,omitempty"`
	HostKey     string `json:"host_key"`
}

// String lists them.
func (a Algorithms) String() string {
	names := []string{a.KeyExchange, a.Cipher, a.MAC, a.HostKey}
	return strings.Join(slices.DeleteFunc(names, func(s string) bool { return s == "" }), ", ")
}
