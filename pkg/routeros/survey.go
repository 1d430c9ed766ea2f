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
	secrets  census
	gaps     []Gap // at most maxGaps+1
	gapLines []int // the line of each gap
	lines    int

	offence class // the first line that has no place here; a known one comes before an unknown one
	line    int   // its number
	text    []byte

	broken bool // the text ends inside a line
	ended  bool // the offence has a line end

	underIdentity bool   // the menu under way is the identity's
	nextSet       int    // where a sensitive parameter may be set next
	whole         []byte // a logical line without its wraps
}

// maxGaps bounds the list of menus that were not exported. No router has more menus to lose.
const maxGaps = 1000

const maxIdentityLine = 4096

// look makes the survey of text.
func look(text []byte) *survey {
	s := &survey{header: map[string]string{}, nextSet: -1}
	r := reader{rest: text}
	start, line := 0, 1
	for r.next() {
		if !r.joined && r.start > 0 {
			s.addLogical(text, start, r.start, line)
			start, line = r.start, r.number
		}
		s.add(&r)
	}
	s.addLogical(text, start, len(text), line)
	s.lines = r.number
	s.broken = r.open || r.number > 0 && !r.ended
	return s
}

// addLogical takes the logical line text[start:end] in, with its wraps and its line end.
func (s *survey) addLogical(text []byte, start, end, number int) {
	if start == end {
		return
	}
	logical := text[start:end]
	switch first := logical[0]; {
	case first == '/':
		s.whole = unwrap(s.whole[:0], logical)
		menu, command := cutMenu(s.whole)
		s.underIdentity = same(menu, identityMenu)
		s.secrets.enter(menu)
		if len(command) > 0 {
			s.addCommand(logical, command, number)
		}
	case s.underIdentity && first == 's', s.secrets.needs != nil, first != '#' && s.maySet(text, start, end):
		s.whole = unwrap(s.whole[:0], logical)
		s.addCommand(logical, s.whole, number)
	}
}

// maySet says whether the logical line text[start:end] may set a sensitive parameter.
func (s *survey) maySet(text []byte, start, end int) bool {
	if s.secrets.plain {
		return false
	}
	if s.nextSet < start {
		s.nextSet = nextSet(text, start)
	}
	return s.nextSet < end
}

// addCommand takes the command in that a logical line has.
func (s *survey) addCommand(logical, command []byte, number int) {
	if s.underIdentity && bytes.HasPrefix(command, []byte("set ")) {
		s.identity = logical
	}
	s.secrets.count(command, number)
}

// add takes one physical line in. Lines that go on from the one before are indented on every known release; at column 0
// they pass, unless they are a text that ends or replaces an export.
func (s *survey) add(r *reader) {
	line := trimRight(r.text)
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
	case !item(line):
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
	if r.joined {
		return
	}
	if s.menus > 0 {
		if s.header[versionKey] != "" && headerVersion(line) != "" {
			s.offend(second, r, line)
		}
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
	return Gap{Menu: clean(strings.Trim(menu, blanks+`"'`)), Timeout: note != ""} // "(timeout)" is the only note known
}
