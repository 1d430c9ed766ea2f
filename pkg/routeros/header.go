package routeros

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// headerFields are what a header says of the router. The version stands in its first line and has no key there.
type headerFields struct{ version, softwareID, systemID, model, serialNumber string }

// maxField bounds each field that is read from an export, in bytes.
const maxField = 256

// field is the one that the header's line with this key fills, nil where it is none that we read.
func (h *headerFields) field(key []byte) *string {
	switch string(key) {
	case "software id":
		return &h.softwareID
	case "system id":
		return &h.systemID // takes the place of the software id on virtual machines
	case "model":
		return &h.model
	case "serial number":
		return &h.serialNumber
	}
	return nil
}

// headerVersion is the version that a header's first line names, "" where line is none. Between # and by stands a date, whose
// shape differs over releases, or nothing.
func headerVersion(line []byte) string {
	date, version, ok := bytes.Cut(line, []byte("by RouterOS "))
	if !ok || !bytes.HasPrefix(date, []byte("# ")) || bytes.IndexByte(date, '=') >= 0 || len(version) == 0 || !digit(version[0]) {
		return ""
	}
	if at := bytes.IndexAny(version, blanks); at >= 0 {
		version = version[:at]
	}
	return clean(string(version))
}

const identityMenu = "/system identity"

// identityName reads the name out of the command that sets it.
func identityName(line []byte) string {
	if len(line) > maxIdentityLine {
		return ""
	}
	_, value, ok := strings.Cut(string(escapeInvalid(nil, line)), " name=")
	if !ok {
		return ""
	}
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		return clean(unescape(quoted))
	}
	value, _, _ = strings.Cut(value, " ")
	return clean(value)
}

// unescape reads a quoted value up to its closing quote.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s) && s[i] != '"'; i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if high, ok := hexDigit(s[i]); ok && i+1 < len(s) {
			if low, ok := hexDigit(s[i+1]); ok {
				b.WriteByte(high<<4 | low)
				i++
				continue
			}
		}
		switch s[i] {
		case '_', 'n', 'r', 't', 'a', 'b', 'f', 'v':
			b.WriteByte(' ')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// hexDigit reads one digit of an escaped byte; RouterOS writes them in upper case and means something else by lower case.
func hexDigit(c byte) (byte, bool) {
	switch {
	case digit(c):
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// clean makes a field fit to be shown and stored: valid UTF-8, printable, at most maxField bytes.
func clean(s string) string {
	s = s[:min(len(s), maxField)]
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	for len(s) > maxField {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
