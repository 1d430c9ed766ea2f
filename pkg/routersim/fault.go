package routersim

import (
	"fmt"
	"strings"
)

// Fault is something wrong with one router. The zero value is a healthy router.
type Fault int

// The faults.
const (
	NoFault               Fault = iota
	WrongPassword               // refuses every login
	HostKeyChanged              // has a new host key; setting it rotates the key, clearing it does not bring the old one back
	Refused                     // its listener is closed, as SetDown does it
	SilentAfterAccept           // accepts the TCP connection and says nothing
	StallMidExport              // half the export, then silence until the client leaves
	CutMidExport                // half the export, then exit status 0 and a clean close
	Interrupted                 // part of the export, ended by "#interrupted"
	ErrorExportingTimeout       // one menu says (timeout); the rest of the export is whole
	StandingGap                 // a menu without hardware: "#error exporting" as the last line of every export
	ErrorText                   // an error text in place of the export
	Huge                        // a whole export of 4 MB
	Slow                        // a whole export that trickles
	WindowCut                   // the first 64 KB of the export, half of a smaller one, then exit status 0 and a clean close
	HiddenSecrets               // its user may not see secrets: every export lacks them
	MarkerRefused               // takes no ";" after an export
	Banned                      // its firewall has banned everyone: connections are accepted and closed
	LoginBanner                 // the leftover of a login screen above every output
	OldAlgorithms               // EraGroup1; with it the host key is an RSA key
	NoCommonAlgorithm           // EraMD5
	SessionLimit                // others have all its sessions: connections are accepted and closed
)

var faultNames = []string{
	"none", "wrong-password", "host-key-changed", "refused", "silent-after-accept", "stall-mid-export", "cut-mid-export",
	"interrupted", "error-exporting-timeout", "standing-gap", "error-text", "huge", "slow", "window-cut", "hidden-secrets",
	"marker-refused", "banned", "login-banner", "old-algorithms", "no-common-algorithm", "session-limit",
}

// Faults lists every fault but NoFault.
func Faults() []Fault {
	var out []Fault
	for i := 1; i < len(faultNames); i++ {
		out = append(out, Fault(i))
	}
	return out
}

// String is the name that ParseFault takes.
func (f Fault) String() string {
	if f < 0 || int(f) >= len(faultNames) {
		return fmt.Sprintf("fault(%d)", int(f))
	}
	return faultNames[f]
}

// ParseFault reads the name of a fault; "none" is NoFault.
func ParseFault(name string) (Fault, error) {
	for i, n := range faultNames {
		if n == name {
			return Fault(i), nil
		}
	}
	return NoFault, fmt.Errorf("parse fault %q: use one of %s", name, strings.Join(faultNames, ", "))
}

const (
	interruptedTail = "#error exporting /ip socks" + lineEnd + "#interrupted" + lineEnd
	timeoutLine     = `#error exporting "/ip/upnp" (timeout)` + lineEnd
	gapLine         = `#error exporting "/system/routerboard/mode-button"` + lineEnd
	permissionLine  = "not enough permissions (9)" + lineEnd
)

// spoil is what a router with the fault prints in place of the export, and whether the rest of its command line still runs.
func spoil(export string, f Fault) (text string, goOn bool) {
	half := len(export) / 2
	switch f {
	case CutMidExport:
		return midLine(export, half), false
	case WindowCut:
		return midLine(export, min(half, windowCutFault)), false
	case StallMidExport:
		return export[:half], false
	case Interrupted:
		return export[:half+nextLine(export[half:])] + interruptedTail, false
	case ErrorExportingTimeout:
		at := len(export)
		if i := strings.Index(export[half:], lineEnd+"/"); i >= 0 {
			at = half + i + len(lineEnd)
		}
		return export[:at] + timeoutLine + export[at:], true
	case StandingGap:
		return export + gapLine, true
	case ErrorText:
		return permissionLine, false
	}
	return export, true
}

// midLine is the beginning of s of about n bytes: a cut falls where the window is full, hardly ever at a line's end.
func midLine(s string, n int) string {
	for s[n-1] == '\n' {
		n++
	}
	return s[:n]
}

// filed is the text of an export into a file, where the fault is one of the configuration and not of the session.
func filed(export string, f Fault) string {
	switch f {
	case Interrupted, ErrorExportingTimeout, StandingGap:
		export, _ = spoil(export, f)
	}
	return export
}

// nextLine is the offset of the first command line in s: cutting before it leaves no broken continuation.
func nextLine(s string) int {
	for i := 0; ; {
		j := strings.Index(s[i:], lineEnd)
		if j < 0 {
			return len(s)
		}
		broken := j > 0 && s[i+j-1] == '\\'
		i += j + len(lineEnd)
		if !broken {
			return i
		}
	}
}
