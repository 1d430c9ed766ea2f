package routeros

import (
	"bytes"
	"strings"
)

// survey is what one pass over a text finds.
type survey struct {
	header   map[string]string // by name: version, and the keys of the lines below it
	menus    int
	identity []byte // the logical line that sets it
	gaps     []Gap  // at most maxGaps+1
	gapLines []int  // the line of each gap
	lines    int

	offence class // the first line that has no place here; a known one comes before an unknown one
	line    int   // its number
	text    []byte

	broken bool // the text ends inside a line
	ended  bool // the offence has a line end
}

// maxGaps bounds the list of menus that were not exported. No router has more menus to lose.
const maxGaps = 1000

const maxIdentityLine = 4096

// look makes the survey of text.
func look(text []byte) *survey {
	s := &survey{header: map[string]string{}}
	r := reader{rest: text}
	underIdentity, from := false, -1
	for r.next() {
		if from >= 0 && !r.joined {
			s.identity, from = text[from:r.start], -1
		}
		s.add(&r)
		if r.joined || len(r.text) == 0 {
			continue
		}
		if r.text[0] == '/' {
			var rest []byte
			rest, underIdentity = cutIdentityMenu(r.text)
			if bytes.HasPrefix(rest, []byte(" set ")) {
				from = r.start
			}
		} else if underIdentity && bytes.HasPrefix(r.text, []byte("set ")) {
			from = r.start
		}
	}
	if from >= 0 {
		s.identity = text[from:]
	}
	s.lines = r.number
	s.broken = r.open || r.number > 0 && !r.ended
	return s
}

// add takes one physical line in. Lines that go on from the one before are indented on every known release; at column 0
// they pass, unless they are a text that ends or replaces an export.
func (s *survey) add(r *reader) {
	line := bytes.TrimRight(r.text, blanks)
	if len(line) == 0 {
		return
	}
	if indented(line) {
		if !r.joined && s.header[versionKey] == "" {
			s.offend(unknown, r, line) // a banner
		}
		return
	}
	switch {
	case line[0] == '#':
		s.addComment(r, line)
	case r.joined:
		if c := stray(line); c != unknown {
			s.offend(c, r, line)
		}
	case line[0] == '/':
		if atPrompt(line) {
			s.offend(prompt, r, line)
		} else if len(line) > 1 {
			s.menus++
		}
	case !item(line) || startsWith(line, loginScreens):
		s.offend(stray(line), r, line)
	case s.menus == 0:
		s.offend(unknown, r, line) // an item whose menu is lost
	}
}

func (s *survey) offend(c class, r *reader, line []byte) {
	if c == interrupt && line[0] != '#' && s.header[versionKey] == "" {
		c = refusal // there was no export to interrupt
	}
	if s.offence == none || s.offence == unknown && c != unknown {
		s.offence, s.line, s.text, s.ended = c, r.number, line, r.ended
	}
}

func (s *survey) addComment(r *reader, line []byte) {
	if bytes.HasPrefix(line, []byte("#interrupted")) {
		s.offend(interrupt, r, line)
		return
	}
	if rest, ok := bytes.CutPrefix(line, []byte("#error exporting")); ok {
		if len(s.gaps) <= maxGaps {
			s.gaps = append(s.gaps, gap(rest))
			s.gapLines = append(s.gapLines, r.number)
		}
		return
	}
	if r.joined || s.menus > 0 {
		return
	}
	if s.header[versionKey] == "" {
		s.header[versionKey] = headerVersion(line)
	} else if key, value, ok := bytes.Cut(line[1:], []byte("=")); ok {
		key = bytes.Trim(key, blanks)
		if name := string(key); headerKey(name) && s.header[name] == "" {
			s.header[name] = clean(string(bytes.Trim(value, blanks)))
		}
	}
}

// gap reads what follows "#error exporting".
func gap(rest []byte) Gap {
	menu := string(rest[:min(len(rest), maxField)])
	menu, note, _ := strings.Cut(menu, "(")
	return Gap{Menu: clean(strings.Trim(menu, blanks+`"'`)), Timeout: strings.HasPrefix(note, "timeout")}
}

// sameMenu compares menus over releases: RouterOS 6 writes /ip socks, 7 /ip/socks
func sameMenu(a, b string) bool {
	return strings.ReplaceAll(a, " ", "/") == strings.ReplaceAll(b, " ", "/")
}
