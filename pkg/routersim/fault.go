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
	Refused                     // its listener is closed
	SilentAfterAccept           // accepts the TCP connection and says nothing
	StallMidExport              // half the export, then silence until the client leaves
	CutMidExport                // half the export, then exit status 0 and a clean close
	Interrupted                 // part of the export, ended by "#interrupted"
	ErrorExportingTimeout       // one menu says (timeout); the rest of the export is whole
	StandingGap                 // a menu without hardware: "#error exporting" as the last line of every export
	ErrorText                   // an error text in place of the export
	Huge                        // a whole export of 4 MB
	Slow                        // a whole export that trickles
)

var faultNames = []string{
	"none", "wrong-password", "host-key-changed", "refused", "silent-after-accept", "stall-mid-export", "cut-mid-export",
	"interrupted", "error-exporting-timeout", "standing-gap", "error-text", "huge", "slow",
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
		for export[half-1] == '\n' { // the cut falls where the window is full, hardly ever at a line's end
			half++
		}
		return export[:half], false
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
