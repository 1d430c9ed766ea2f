package routeros

import (
	"bytes"
	"hash/maphash"
)

// Gist stands for all that verdict and normal form of an export depend on: of two exports with one gist that are whole by
// their end marker, judged with the same Want, the verdicts and normal forms are the same. They may differ in the date of the
// header and in the words of status comments. It has 128 bits and holds within this process only.
type Gist struct{ a, b uint64 }

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
	g.add(first[at:])
	g.add(rest[:menu])
	for rest = rest[menu:]; ; { // always at a line end
		start, end := statusComment(rest)
		g.add(rest[:start])
		if start == len(rest) {
			return g, text, true
		}
		rest = rest[end:]
	}
}

func (g *Gist) add(part []byte) {
	g.a = maphash.Comparable(gistSeeds[0], [2]uint64{g.a, maphash.Bytes(gistSeeds[0], part)})
	g.b = maphash.Comparable(gistSeeds[1], [2]uint64{g.b, maphash.Bytes(gistSeeds[1], part)})
}

// statusComment is where the next comment starts that neither verdict nor normal form depend on, after a line end, and where
// its text ends, before its own; without one both are the length of text. A comment that says why an export ended, a second
// header, and whatever a wrap may have made look like a comment are none.
func statusComment(text []byte) (start, end int) {
	for from := 0; ; {
		at := bytes.IndexByte(text[from:], '#')
		if at < 0 {
			return len(text), len(text)
		}
		at += from
		from = at + 1
		if at == 0 || text[at-1] != '\n' || from == len(text) || text[from] != ' ' || wraps(text[:at-1]) {
			continue
		}
		size := bytes.IndexByte(text[at:], '\n')
		if size < 0 {
			continue
		}
		if line := text[at : at+size]; !wraps(line) && headerVersion(line) == "" {
			return at - 1, at + size
		}
	}
}

// wraps says whether text may break off with a backslash.
func wraps(text []byte) bool {
	text = bytes.TrimRight(text, "\r")
	return len(text) > 0 && text[len(text)-1] == '\\'
}
