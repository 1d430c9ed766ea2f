package routeros

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// Gist stands for all that verdict and normal form of an export depend on: of two exports with one gist that are whole by
// their end marker, judged with the same Want, the verdicts and normal forms are the same. They may differ in the date of the
// header, in status comments and in the pages of dynamic interfaces. It has 128 bits and holds within this process only.
type Gist struct{ a, b uint64 }

const gistPiece = 16 << 10 // bytes that a CPU's nearest cache holds between the two looks at them

var gistSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// GistOf gives the gist of the output of Command, and the text of it without the end marker. ok is false where it has none: it
// does not end in the marker, or does not begin as an export does.
func GistOf(output []byte, marker string) (g Gist, text []byte, ok bool) {
	text, marked := cutMarker(output, marker)
	first, rest, found := bytes.Cut(text, []byte("\n"))
	at := bytes.Index(first, []byte("by RouterOS "))
	menu := bytes.Index(rest, []byte("\n/"))
	if !marked || !found || at < 0 || menu < 0 || headerVersion(first) == "" {
		return Gist{}, text, false
	}
	var a, b maphash.Hash
	a.SetSeed(gistSeeds[0])
	b.SetSeed(gistSeeds[1])
	add := func(part []byte) {
		for piece := range slices.Chunk(part, gistPiece) {
			_, _ = a.Write(piece) // never fails
			_, _ = b.Write(piece)
		}
	}
	add(first[at:])
	add(rest[:menu])
	rest = rest[menu:]
	seek := func(c byte, from int) int {
		if i := bytes.IndexByte(rest[from:], c); i >= 0 {
			return from + i
		}
		return len(rest)
	}
	paged := -1 // the menu that had a page left out
	for done, hash, angle := 0, seek('#', 0), seek('<', 0); ; {
		at := min(hash, angle)
		if at == len(rest) {
			add(rest[done:])
			return Gist{a.Sum64(), b.Sum64()}, text, true
		}
		start, end, lcd := volatileLine(rest, at)
		if start < end {
			if lcd >= 0 && lcd != paged && onlyPages(rest[lcd:]) { // the normal form has no line of such a menu
				if done <= lcd && bytes.IndexByte(rest[lcd:start], '\n') == start-lcd-1 {
					start = lcd
				} else {
					add([]byte{0})
				}
			}
			add(rest[done:start])
			done, paged = end, max(lcd, paged)
		}
		next := max(at+1, done)
		if hash < next {
			hash = seek('#', next)
		}
		if angle < next {
			angle = seek('<', next)
		}
	}
}

// volatileLine is the line around text[at], with its end, where verdict and normal form depend on nothing in it: a status
// comment, or a page of a dynamic interface, then with the place of its menu; otherwise it is empty. A comment that says why an
// export ended, a second header, and whatever a wrap may have made look like such a line are none. text starts with a line end.
func volatileLine(text []byte, at int) (start, end, lcd int) {
	start = bytes.LastIndexByte(text[:at], '\n') + 1
	size := bytes.IndexByte(text[at:], '\n')
	if start == 0 || size < 0 || wraps(text[:start-1]) || wraps(text[start:at+size]) {
		return 0, 0, -1
	}
	line, end := trimEnd(text[start:at+size]), at+size+1
	switch {
	case len(line) > 1 && line[0] == '#' && line[1] == ' ' && headerVersion(line) == "":
		return start, end, -1
	case dynamicPage(line):
		lcd = bytes.LastIndex(text[:start], []byte("\n/")) + 1
		menu, _, _ := bytes.Cut(text[lcd:], []byte("\n"))
		if menu = trimEnd(menu); lcd > 0 && !wraps(text[:lcd-1]) && !wraps(menu) && lcdMenu(menu) {
			return start, end, lcd
		}
	}
	return 0, 0, -1
}

// onlyPages says whether the menu that text starts with has nothing but the pages of dynamic interfaces.
func onlyPages(text []byte) bool {
	r := reader{all: text}
	for r.next() && (r.number == 1 || r.joined || len(r.text) == 0 || r.text[0] != '/') {
		if line := trimEnd(r.text); r.number > 1 && len(line) > 0 && line[0] != '#' && !dynamicPage(line) {
			return false
		}
	}
	return true
}

// wraps says whether text may break off with a backslash.
func wraps(text []byte) bool {
	text = bytes.TrimRight(text, "\r")
	return len(text) > 0 && text[len(text)-1] == '\\'
}
