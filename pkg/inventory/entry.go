package inventory

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/confhaul/confhaul/pkg/device"
)

// column is one field of a device.
type column int

const (
	colID column = iota
	colName
	colAddress
	colPort
	colSite
	colTenant
	colPlatform
	colCredential
	colEnabled
	colInterval
	colProof
	colLargeExport
	colJump
	columns
)

var columnNames = [columns]string{"id", "name", "address", "port", "site", "tenant", "platform", "credential", "enabled", "interval", "proof", "large_export", "jump"}

// cell is the text of a field and its line; empty text is a field left out.
type cell struct {
	text string
	line int
}

// entry is one device as the file gives it, with the cells that stand in for those it leaves out, nearest first.
type entry struct {
	line   int
	broken bool // told already: what is missing may stand under a misspelt key
	cells  [columns]cell
	site   *[columns]cell
	top    *[columns]cell
}

// get returns the cell that holds for the device.
func (e *entry) get(c column) cell {
	if e.cells[c].text != "" {
		return e.cells[c]
	}
	for _, from := range []*[columns]cell{e.site, e.top} {
		if from != nil && from[c].text != "" {
			return from[c]
		}
	}
	return cell{line: e.line}
}

// resolve makes devices of entries and checks them against each other. The second result is the line that names each
// one's credential.
func resolve(entries []entry, p *problems) ([]device.Device, []int) {
	devices := make([]device.Device, 0, len(entries))
	lines := make([]int, 0, len(entries))
	ids := make(map[string]int, len(entries))
	for i := range entries {
		e := &entries[i]
		d := e.device(p)
		if first, twice := ids[d.ID]; twice && d.ID != "" {
			p.add(e.get(colID).line, "id", "%q is already on line %d", d.ID, entries[first].line)
		} else {
			ids[d.ID] = i
		}
		devices = append(devices, d)
		lines = append(lines, e.get(colCredential).line)
	}
	jumps{entries, devices, ids, map[int]bool{}, p}.resolve()
	checkEndpoints(entries, devices, p)
	return devices, lines
}

// endpoint is what may stand once in the inventory. Behind another jump host the same address is another device.
type endpoint struct {
	site, jump, address string
	port                int
}

func checkEndpoints(entries []entry, devices []device.Device, p *problems) {
	endpoints := make(map[endpoint]int, len(devices))
	for i, d := range devices {
		at := endpoint{site: d.Site, address: canonical(d.Address), port: d.Port}
		if n := len(d.Jumps); n > 0 {
			at.jump = d.Jumps[n-1].ID
		}
		if first, twice := endpoints[at]; twice && d.Address != "" {
			p.add(entries[i].get(colAddress).line, "address", "%s of site %s is already device %q on line %d",
				d.Endpoint(), d.Site, devices[first].ID, entries[first].line)
		} else {
			endpoints[at] = i
		}
	}
}

// canonical is one spelling of an address.
func canonical(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(address), ".")
}

// device fills a device from the entry. A field with a problem gets its default, so that it is told once.
func (e *entry) device(p *problems) device.Device {
	d := device.Device{Port: device.DefaultPort, Site: device.DefaultSite, Tenant: device.DefaultTenant, Platform: device.DefaultPlatform, Enabled: true}
	take := func(c column, to *string) {
		at := e.get(c)
		if at.text == "" {
			return
		}
		if wrong := check(c, at.text); wrong == "" {
			*to = at.text
		} else if e.own(c) {
			p.add(at.line, columnNames[c], "%s", wrong)
		}
	}
	take(colID, &d.ID)
	take(colAddress, &d.Address)
	take(colSite, &d.Site)
	take(colTenant, &d.Tenant)
	take(colPlatform, &d.Platform)
	take(colCredential, &d.Credential)
	d.Name = d.ID
	take(colName, &d.Name)
	var port, enabled, interval, proof, large, jump string
	take(colPort, &port)
	take(colEnabled, &enabled)
	take(colInterval, &interval)
	take(colProof, &proof)
	take(colLargeExport, &large)
	take(colJump, &jump) // the way is found when all devices are known
	if port != "" {
		d.Port, _ = strconv.Atoi(port) // checked
	}
	if interval != "" {
		d.Interval, _ = time.ParseDuration(interval) // checked
	}
	d.Proof, d.LargeExport = special(proof), special(large)
	d.Enabled = enabled == "" || truth[strings.ToLower(enabled)]
	if e.broken {
		return d
	}
	for _, c := range []column{colID, colAddress} {
		if e.cells[c].text == "" {
			p.add(e.line, columnNames[c], "is missing")
		}
	}
	if e.get(colCredential).text == "" {
		p.add(e.line, "credential", "is missing: name one here, for the site or in defaults")
	}
	return d
}

// special is a choice as a device keeps it: the usual one is nothing.
func special(text string) string {
	if text == proofMarker || text == largeExportOff {
		return ""
	}
	return text
}

// own says whether the device itself holds the cell; what stands in for it is checked where it stands.
func (e *entry) own(c column) bool { return e.cells[c].text != "" }

var (
	truth     = map[string]bool{"true": true, "yes": true, "1": true, "false": false, "no": false, "0": false}
	wordShape = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,128}$`)
	hostShape = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$`)
	allDigits = regexp.MustCompile(`(^|\.)[0-9]+\.?$`)
)

// check says what is wrong with the text of a field, and nothing where it is good.
func check(c column, text string) string {
	switch c {
	case colID:
		return message(device.CheckID(text))
	case colSite:
		return message(device.CheckSite(text))
	case colName:
		return checkName(text)
	case colAddress:
		return checkAddress(text)
	case colPort:
		if n, err := strconv.Atoi(text); err != nil || n < 1 || n > 65535 {
			return strconv.Quote(text) + " is not a port: use 1 to 65535"
		}
	case colTenant, colCredential:
		if !wordShape.MatchString(text) {
			return strconv.Quote(text) + " is not a " + columnNames[c] + " name: use 1 to 128 of A-Z a-z 0-9 . _ : @ -"
		}
	case colPlatform:
		if text != device.DefaultPlatform {
			return strconv.Quote(text) + " is not supported: use " + device.DefaultPlatform
		}
	case colProof:
		return oneOf(text, proofMarker, device.ProofTwice)
	case colLargeExport:
		return oneOf(text, largeExportOff, device.LargeExportSFTP)
	case colJump:
		return message(device.CheckID(text))
	case colEnabled:
		if _, ok := truth[strings.ToLower(text)]; !ok {
			return strconv.Quote(text) + " is not true or false"
		}
	case colInterval:
		if d, err := time.ParseDuration(text); err != nil || d < IntervalMin {
			return strconv.Quote(text) + " is not a duration such as 90s or 6h, of at least " + IntervalMin.String()
		}
	}
	return ""
}

// The usual choices.
const (
	proofMarker    = "marker"
	largeExportOff = "off"
)

func oneOf(text, usual, other string) string {
	if text == usual || text == other {
		return ""
	}
	return strconv.Quote(text) + ": use " + usual + " or " + other
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func checkName(text string) string {
	if utf8.RuneCountInString(text) > NameMax {
		return "is over " + strconv.Itoa(NameMax) + " characters long"
	}
	for _, r := range text {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return strconv.Quote(text) + " holds a character that does not print"
		}
	}
	return ""
}

func checkAddress(text string) string {
	quoted := strconv.Quote(text)
	if _, err := netip.ParseAddr(text); err == nil {
		return ""
	}
	switch {
	case strings.HasPrefix(text, "["):
		return quoted + ": write an IPv6 address without brackets, and the port in its own field"
	case strings.Count(text, ":") == 1:
		return quoted + ": write the port in its own field"
	case len(text) > 253 || !hostShape.MatchString(text) || allDigits.MatchString(text):
		return quoted + " is neither a host name nor an IP address"
	}
	return ""
}
