package routeros

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"unicode/utf8"
)

// NormalizationVersion is the version of the normal form that Normalize makes. Digests compare only within one version.
//
// Version 1, in this order:
//
//   - Line ends become LF.
//   - A line that ends in an odd run of backslashes goes on in the next: the last backslash, the line end and the leading
//     blanks of the next line go, and \_ right after them becomes the space that it stands for. RouterOS wraps at the width
//     of the session, so the place of a wrap says nothing about the router.
//   - Trailing blanks go; one space stays where the line would otherwise seem to go on in the next.
//   - Blank lines go.
//   - Volatile lines go, see below.
//   - Every line ends in one LF. A text without lines is empty.
//   - Bytes that are not UTF-8 become \XX in upper-case hex, RouterOS' own notation for them: events are JSON, which would
//     replace them without a word.
//
// Volatile, and nothing else:
//
//   - Lines that start with # at column 0. That is the header (it has the time of the export; version, model and serial
//     number are kept beside the text) and the status comments, which come and go with links, radios and clocks. A user's
//     comments are comment=... and stay. A comment goes on in the next line only if that one is indented.
//   - In the menus /lcd... and /system lcd...: set <...> and set "<...>", the pages of dynamic PPP interfaces, which come and
//     go with the callers; and the menu line, where it had only these.
//
// Kept on purpose: internal ids such as *8 and lines of hardware that can be unplugged. Both are references that the
// configuration makes, and dropping them could hide a change. Bodies of scripts stay as they are.
const NormalizationVersion = 1

// Normalize appends the normal form of text to dst, which must not overlap it. Twice equals once. The time is linear, and
// the result is at most one byte longer than text, and two more for each byte that is not UTF-8.
func Normalize(dst, text []byte) []byte { return look(dst, text).normal(len(dst)) }

// escapeInvalid appends s to dst with every byte that is not part of a UTF-8 character as \XX.
func escapeInvalid(dst, s []byte) []byte {
	const hexDigits = "0123456789ABCDEF"
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, '\\', hexDigits[s[0]>>4], hexDigits[s[0]&15])
		} else {
			dst = append(dst, s[:size]...)
		}
		s = s[size:]
	}
	return dst
}

// Digest is the lower-case hex sha256 of a normal form.
func Digest(normal []byte) string {
	sum := sha256.Sum256(normal)
	return hex.EncodeToString(sum[:])
}

// Shrunk says whether an export of now bytes is suspiciously smaller than the last one: below 70 % of it, with at least 2 KB
// lost.
func Shrunk(last, now int) bool {
	const percent, least = 70, 2 * 1024
	return now < last && last-now >= least && now*100 < last*percent
}

// normalizer holds the output; what it takes back is always at the end.
type normalizer struct {
	out  []byte
	line int // where the logical line under way starts

	lcd     bool // the menu may have dynamic pages
	menu    int  // where the menu line starts
	dropped bool // the menu had a dynamic page
	kept    bool // the menu has another line
}

// endLine ends the logical line under way and is what stays of it, without its line end; nil: nothing.
func (n *normalizer) endLine() []byte {
	whole := n.out[n.line:]
	line := trimEnd(whole)
	if len(line) == 0 || line[0] == '#' {
		n.out = n.out[:n.line]
		return nil
	}
	if len(line) < len(whole) && oddBackslashes(line) {
		line = append(line, ' ')
	}
	switch {
	case line[0] == '/':
		n.endMenu()
		line = append(n.out[n.line:n.line], line...) // where it took the menu before it back, the line moves
		n.lcd, n.menu, n.dropped, n.kept = lcdMenu(line), n.line, false, false
	case n.lcd && dynamicPage(line):
		n.dropped = true
		n.out = n.out[:n.line]
		return nil
	default:
		n.kept = true
	}
	n.out = append(n.out[:n.line+len(line)], '\n')
	n.line = len(n.out)
	return line
}

// addLine takes a logical line that has its normal form already, outside the LCD menus, and is that.
func (n *normalizer) addLine(text []byte) []byte {
	n.out = append(append(n.out, text...), '\n')
	line := n.out[n.line : len(n.out)-1]
	n.line = len(n.out)
	return line
}

// endMenu takes back the line of a menu that had dynamic pages only.
func (n *normalizer) endMenu() {
	if n.lcd && n.dropped && !n.kept {
		n.out = n.out[:n.menu]
		n.line = n.menu
	}
}

// normal is the output, which starts at offset from.
func (n *normalizer) normal(from int) []byte {
	if normal := n.out[from:]; !utf8.Valid(normal) {
		return escapeInvalid(slices.Clone(n.out[:from]), normal)
	}
	return n.out
}

// lcdMenu says whether line is the path of an LCD menu, without a command on the same line.
func lcdMenu(line []byte) bool {
	path := line[1:]
	if rest, ok := bytes.CutPrefix(path, []byte("system")); ok && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '/') {
		path = rest[1:]
	}
	rest, ok := bytes.CutPrefix(path, []byte("lcd"))
	if !ok || bytes.IndexByte(rest, '=') >= 0 {
		return false
	}
	return len(rest) == 0 || rest[0] == ' ' || rest[0] == '/'
}

// dynamicPage says whether line sets the page of a dynamic interface, whose name stands in angle brackets.
func dynamicPage(line []byte) bool {
	name, ok := bytes.CutPrefix(line, []byte("set "))
	if !ok {
		return false
	}
	end := []byte(">")
	if quoted, ok := bytes.CutPrefix(name, []byte(`"`)); ok {
		name, end = quoted, []byte(`>"`)
	}
	if len(name) == 0 || name[0] != '<' {
		return false
	}
	at := bytes.Index(name, end)
	if at < 0 {
		return false
	}
	rest := name[at+len(end):]
	return len(rest) == 0 || rest[0] == ' '
}
