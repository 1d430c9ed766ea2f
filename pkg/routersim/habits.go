package routersim

import (
	"slices"
	"strings"
	"time"
)

// The policies of a user's group that a router heeds here.
const (
	PolicySSH       = "ssh"       // without it the login succeeds and no channel opens
	PolicyRead      = "read"      // without it no export
	PolicySensitive = "sensitive" // without it exports have no secrets, and nothing says so
	PolicyWrite     = "write"     // without it no export into a file
	PolicyFTP       = "ftp"       // without it no SFTP
)

// Flicker says which of the lines show that come and go without a change of the configuration.
type Flicker int

// The flickers.
const (
	FlickerRandom Flicker = iota // some, others in each run
	FlickerNone
	FlickerAll // all, each with every text it may have
)

const (
	maxSessionsDefault = 20     // of RouterOS
	flashMax           = 128e6  // bytes; what routers of this kind have at most
	noSessions         = -1     // for habits.maxSessions
	windowCutFault     = 64_000 // bytes; of the fault WindowCut
	bannerFault        = "Please press \"Enter\" to continue!\r\nDo you want to see the software license? [Y/n]: \r\n"
)

// habits is what a router does in ways that can be ordered one by one.
type habits struct {
	era           Era
	windowCut     int
	width         int
	markerRefused bool
	policies      []string
	fileDelay     time.Duration
	flash         int
	maxSessions   int
	banned        bool // every source, by the fault
	forwarding    bool
	flicker       Flicker
	banner        string
	delay         time.Duration
	fault         Fault
}

func (h habits) may(policy string) bool { return slices.Contains(h.policies, policy) }

// now is what the router does, with the fault in it where that is nothing but another habit.
func (r *Router) now() habits {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.habits
	switch h.fault {
	case HiddenSecrets:
		h.policies = slices.DeleteFunc(slices.Clone(h.policies), func(p string) bool { return p == PolicySensitive })
	case MarkerRefused:
		h.markerRefused = true
	case Banned:
		h.banned = true
	case LoginBanner:
		h.banner = bannerFault
	case OldAlgorithms:
		h.era = EraGroup1
	case NoCommonAlgorithm:
		h.era = EraMD5
	case SessionLimit:
		h.maxSessions = noSessions
	}
	return h
}

func (r *Router) order(change func(h *habits)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.habits)
}

// SetDelay makes the router wait before the first byte of every answer to a command.
func (r *Router) SetDelay(beforeFirstByte time.Duration) {
	r.order(func(h *habits) { h.delay = beforeFirstByte })
}

// SetWindowCut drops what an exec prints beyond so many bytes, the end marker with it; exit status 0 and a clean close
// follow, as where the client's window was full at the end. 0 is off.
func (r *Router) SetWindowCut(bytes int) { r.order(func(h *habits) { h.windowCut = max(0, bytes) }) }

// SetWidth sets at how many columns exports wrap, the backslash included: at least WidthMin, or 0 for no wrap.
func (r *Router) SetWidth(columns int) { r.order(func(h *habits) { h.width = clampWidth(columns) }) }

// SetMarkerRefused makes it a release that takes no ";" after an export: such a line prints a parse error and nothing else.
func (r *Router) SetMarkerRefused(on bool) { r.order(func(h *habits) { h.markerRefused = on }) }

// SetPolicies sets the policies of the user's group; at first they are ssh, read and sensitive.
func (r *Router) SetPolicies(policies ...string) {
	own := slices.Clone(policies)
	r.order(func(h *habits) { h.policies = own })
}

// SetFileDelay sets how long a file takes from the end of its command until it is whole; until then it is there and shorter.
func (r *Router) SetFileDelay(d time.Duration) { r.order(func(h *habits) { h.fileDelay = d }) }

// SetFlash limits the bytes of all files together; a file that finds less room is cut there, and nothing says so.
// 0 is 128 MB.
func (r *Router) SetFlash(bytes int) { r.order(func(h *habits) { h.flash = max(0, bytes) }) }

// SetMaxSessions limits the open connections; those beyond are accepted and closed at once. 0 is RouterOS' default, 20.
func (r *Router) SetMaxSessions(n int) { r.order(func(h *habits) { h.maxSessions = max(0, n) }) }

// SetForwarding lets clients open direct-tcpip channels, as forwarding-enabled=both does: the router is a jump host.
func (r *Router) SetForwarding(on bool) { r.order(func(h *habits) { h.forwarding = on }) }

// SetFlicker says which volatile lines show in exports.
func (r *Router) SetFlicker(f Flicker) { r.order(func(h *habits) { h.flicker = f }) }

// SetLoginBanner has every exec print text first, as given but for its line ends: the leftover of a login screen.
func (r *Router) SetLoginBanner(text string) {
	wire := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", lineEnd)
	r.order(func(h *habits) { h.banner = wire })
}

// SetStrongCrypto is SetEra with EraStrong or EraDefault.
func (r *Router) SetStrongCrypto(on bool) {
	r.order(func(h *habits) {
		h.era = EraDefault
		if on {
			h.era = EraStrong
		}
	})
}
