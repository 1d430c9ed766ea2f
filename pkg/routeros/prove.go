package routeros

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/confhaul/confhaul/pkg/fault"
)

// How an export proved itself. Prove itself says marker or none; the others are for who fetched it.
const (
	ProofMarker = "marker" // the end marker was the last line
	ProofTwice  = "twice"  // two exports in one session have one normal form
	ProofSFTP   = "sftp"   // a file of the router, as long as the router says
	ProofNone   = "none"
)

// TwiceMax bounds an export that ProofTwice may vouch for, in bytes. The window of our SSH client is 2 MiB, and a router
// that cuts long output at the window cuts it at the same place twice.
const TwiceMax = 1 << 20

// Verdict says whether an export is whole, and what it says of its router. The fields are filled as far as they were found,
// whatever the verdict.
type Verdict struct {
	Complete bool
	Kind     fault.Kind // "" when complete; otherwise Incomplete, Rejected or Permission
	Reason   string     // for an operator: what was seen and what to do; "" when complete
	Proof    string     // ProofMarker or ProofNone

	Secrets   int    // sensitive parameters with a value
	Sensitive string // SensitiveShown, SensitiveHidden or SensitiveUnknown

	// Refetch, where not 0, says that the router is of another major version than it was asked as: discard the text and ask
	// again, once, as this one. The text is not complete then.
	Refetch int

	Version, SoftwareID, Model, SerialNumber string // of the header
	Identity                                 string // "" where the router has its default

	Gaps []Gap  // menus that the router could not export, at most 1000, in the order of the text
	Text []byte // the export without the marker line; part of the output

	// Normal is dst with the normal form of Text appended.
	Normal []byte
}

// Gap is a menu that the router could not export.
type Gap struct {
	Menu    string // as the router wrote it
	Timeout bool   // the menu did not answer; otherwise it may never do, for lack of hardware or a package
}

// Prove judges the output of Command(w, marker). standing are the menus that earlier exports of the router lacked too. An
// empty marker judges a text without one, such as a file or one of two exports; then it may be complete with Proof none.
func Prove(dst, output []byte, marker string, w Want, standing []string) Verdict {
	text, marked := cutMarker(output, marker)
	s := look(dst, text)
	v := s.verdict(text, marked)
	v.Normal = s.normal(len(dst))
	refused := s.offence == refusal && marker != "" && column(s.text) > len(w.export())
	v.Refetch = w.refetch(v.Version, !refused && s.offence == refusal && bytes.HasPrefix(s.text, []byte(optionUnknown)))
	switch v.Kind, v.Reason = judge(s, v, len(output), marker, standing); {
	case refused && v.Kind == fault.Rejected:
		v.Reason = fmt.Sprintf("line %d: the router answered %s to the end marker, which this release does not take: set \"proof: twice\" "+
			"for the device, and two exports are compared instead", s.at, quote(s.text))
	case v.Kind == "" && !w.Hide && !w.WithoutSecrets:
		v.Kind, v.Reason = s.secrets.judge()
	}
	v.Complete = v.Kind == ""
	return v
}

// verdict is what the survey of text says of the router, without the judgement.
func (s *survey) verdict(text []byte, marked bool) Verdict {
	v := Verdict{
		Proof:        ProofNone,
		Secrets:      s.secrets.values,
		Version:      s.header.version,
		SoftwareID:   s.header.softwareID,
		Model:        s.header.model,
		SerialNumber: s.header.serialNumber,
		Identity:     identityName(s.identity),
		Gaps:         s.gaps[:min(len(s.gaps), maxGaps)],
		Text:         text,
	}
	v.Sensitive, _ = s.secrets.verdict()
	if v.SoftwareID == "" {
		v.SoftwareID = s.header.systemID
	}
	if marked {
		v.Proof = ProofMarker
	}
	return v
}

// cutMarker takes the last line that is not empty off, where it is the marker.
func cutMarker(output []byte, marker string) (text []byte, marked bool) {
	if marker == "" {
		return output[:len(output):len(output)], false
	}
	last := bytes.TrimRight(output, blanks+"\r\n")
	start := bytes.LastIndexByte(last, '\n') + 1
	if string(last[start:]) != marker {
		return output[:len(output):len(output)], false
	}
	return output[:start:start], true
}

// judge goes from what explains most to what explains least: a refused command has no marker either.
func judge(s *survey, v Verdict, size int, marker string, standing []string) (fault.Kind, string) {
	if len(bytes.TrimSpace(v.Text)) == 0 {
		return fault.Incomplete, "the router sent no export; check that its user has policy=ssh,read,sensitive and try the command by hand"
	}
	if s.offence != none && (s.offence != unknown || s.ended || v.Version == "") {
		return s.explain(v, marker)
	}
	if v.Refetch != 0 {
		return fault.Incomplete, fmt.Sprintf("the router runs RouterOS %s but was asked in the form of another major version, which gets "+
			"the secrets wrong; ask again as RouterOS %d", v.Version, v.Refetch)
	}
	if marker != "" && v.Proof != ProofMarker {
		return fault.Incomplete, fmt.Sprintf("output ended after %d bytes, in line %d, without the end marker: likely cut by the router's "+
			"SSH server, which does so with long exports on slow paths; if it stays so, set \"large_export: sftp\" for the device and give "+
			"its user's group %s", size, s.lines, filePolicies)
	}
	switch {
	case v.Version == "":
		return fault.Incomplete, `no header "# <date> by RouterOS <version>" before the first menu: the beginning is missing, or this is no export`
	case s.menus == 0:
		return fault.Incomplete, "a header but no menu follows: the export ended before the first menu"
	case s.broken:
		return fault.Incomplete, fmt.Sprintf("the export ends inside line %d: its end is missing", s.lines)
	}
	return judgeGaps(s, standing)
}

// explain words the offence.
func (s *survey) explain(v Verdict, marker string) (fault.Kind, string) {
	at := fmt.Sprintf("line %d: ", s.at)
	said := at + "the router answered " + quote(s.text)
	switch s.offence {
	case permission:
		return fault.Permission, said + ": the router's user lacks a policy; give its group policy=ssh,read,sensitive"
	case refusal:
		if v.Refetch != 0 {
			return fault.Rejected, fmt.Sprintf("%s: this release does not know the export option; ask again as RouterOS %d", said, v.Refetch)
		}
		where := " instead of an export"
		if v.Version != "" {
			where = " within the export"
		}
		return fault.Rejected, said + where + "; try the command by hand in an SSH session of the same user"
	case interrupt:
		return fault.Incomplete, at + "the router says that the export was interrupted: the rest is missing"
	case prompt:
		return fault.Incomplete, at + "a console prompt among the export: this is an interactive session, not the answer to a command"
	case second:
		return fault.Incomplete, at + "a second header: more than one export, of which the first may have been cut"
	case login:
		return fault.Incomplete, at + "the text of a login screen, " + quote(s.text) + ": log in by hand once with this user and answer it"
	}
	switch {
	case marker != "" && string(s.text) == marker:
		return fault.Incomplete, at + "more text after the end marker: something else wrote into the session"
	case bytes.ContainsAny(s.text, `="`): // configuration, perhaps the tail of a secret
		return fault.Incomplete, at + "an item without its menu, or a part of one: text before it is missing"
	}
	// Not quoted: it could be a part of a secret.
	return fault.Incomplete, fmt.Sprintf("%sa text of %d bytes that is neither a menu, an item nor a comment: not the text of an export", at, len(s.text))
}

// judge refuses an export whose secrets the router kept back.
func (c *census) judge() (fault.Kind, string) {
	hidden, l := c.verdict()
	if hidden != SensitiveHidden {
		return "", ""
	}
	return fault.Permission, fmt.Sprintf("line %d: an item of %s without its %s: the router hides its secrets from this user; give its group "+
		"policy=ssh,read,sensitive, or set \"sensitive: hide\" for the credential if that is meant", l.line, l.menu, l.name)
}

func judgeGaps(s *survey, standing []string) (fault.Kind, string) {
	if len(s.gaps) > maxGaps {
		return fault.Incomplete, fmt.Sprintf("the router could not export more than %d menus: restart it", maxGaps)
	}
	fresh := -1
	for i, g := range s.gaps {
		if g.Timeout {
			return fault.Incomplete, fmt.Sprintf("line %d: menu %s did not answer in time and is missing; if it stays so, the menu hangs on "+
				"the router: restart or upgrade it", s.gapLine[i], g.Menu)
		}
		if fresh < 0 && !slices.ContainsFunc(standing, func(menu string) bool { return same([]byte(menu), g.Menu) }) {
			fresh = i
		}
	}
	if fresh >= 0 {
		return fault.Incomplete, fmt.Sprintf("line %d: the router could not export menu %s: seen for the first time, it is accepted as a "+
			"known gap if the next export has it too", s.gapLine[fresh], s.gaps[fresh].Menu)
	}
	return "", ""
}
