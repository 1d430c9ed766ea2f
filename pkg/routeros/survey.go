package routeros

import (
	"bytes"
	"slices"
	"strings"
)

// survey is what one walk over a text finds, and its normal form.
type survey struct {
	normalizer

	header  headerFields
	menus   int
	secrets census
	gaps    []Gap // at most maxGaps+1
	gapLine []int // of each
	lines   int

	identity      []byte // the logical line that sets it
	underIdentity bool   // the menu under way is the identity's

	offence class // the first line that has no place here; a known one comes before an unknown one
	at      int   // its number
	text    []byte
	ended   bool // it has a line end

	broken bool // the text ends inside a line
}

// maxGaps bounds the list of menus that were not exported. No router has more menus to lose.
const maxGaps = 1000

const maxIdentityLine = 4096

// look makes the survey of text and appends the normal form to dst, which must not overlap it.
func look(dst, text []byte) *survey {
	s := &survey{normalizer: normalizer{out: slices.Grow(dst, len(text)+1), line: len(dst)}}
	r := reader{all: text}
	first := 0 // line of the logical one
	for r.next() {
		if !r.joined {
			first = r.number
		}
		usual := s.menus > 0 && r.usual()
		if usual && !s.lcd && r.normal() {
			s.addLogical(s.addLine(r.text), first)
			continue
		}
		if !usual {
			s.add(&r)
		}
		s.out = r.appendTo(s.out)
		if !r.open {
			s.addLogical(s.endLine(), first)
		}
	}
	s.addLogical(s.endLine(), first) // a text may break off
	s.endMenu()
	s.lines = r.number
	s.broken = r.open || r.number > 0 && !r.ended
	return s
}

// addLogical takes one line of the normal form in, whose number in the text is number; an empty one is none.
func (s *survey) addLogical(line []byte, number int) {
	if len(line) > 0 && (line[0] == '/' || !s.secrets.plain) {
		s.addCommand(line, number)
	}
}

// addCommand takes a menu in, a command, or a command with its menu.
func (s *survey) addCommand(line []byte, number int) {
	if line[0] == '/' {
		var menu []byte
		menu, line = cutMenu(line)
		s.underIdentity = same(menu, identityMenu)
		s.secrets.enter(menu)
	}
	if s.underIdentity && bytes.HasPrefix(line, []byte("set ")) {
		s.identity = line
	}
	s.secrets.count(line, number)
}

// add takes one physical line in. Lines that go on from the one before are indented on every known release; at column 0
// they pass, unless they are a text that ends or replaces an export.
func (s *survey) add(r *reader) {
	line := trimRight(r.text)
	if len(line) == 0 {
		return
	}
	if indented(line) {
		if !r.joined && s.header.version == "" {
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
	if c == interrupt && line[0] != '#' && s.header.version == "" {
		c = refusal // there was no export to interrupt
	}
	if s.offence == none || s.offence == unknown && c != unknown {
		s.offence, s.at, s.text, s.ended = c, r.number, line, r.ended
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
			s.gapLine = append(s.gapLine, r.number)
		}
		return
	}
	if r.joined {
		return
	}
	if s.menus > 0 {
		if s.header.version != "" && headerVersion(line) != "" {
			s.offend(second, r, line)
		}
		return
	}
	if s.header.version == "" {
		s.header.version = headerVersion(line)
	} else if key, value, ok := bytes.Cut(line[1:], []byte("=")); ok {
		if field := s.header.field(bytes.Trim(key, blanks)); field != nil && *field == "" {
			*field = clean(string(bytes.Trim(value, blanks)))
		}
	}
}

// gap reads what follows "#error exporting".
func gap(rest []byte) Gap {
	menu := string(rest[:min(len(rest), maxField)])
	menu, note, _ := strings.Cut(menu, "(")
	return Gap{Menu: clean(strings.Trim(menu, blanks+`"'`)), Timeout: note != ""} // "(timeout)" is the only note known
}
