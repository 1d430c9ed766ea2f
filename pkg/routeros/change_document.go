package routeros

import (
	"bytes"
	"strings"
)

// document is a normal form by menu.
type document struct {
	menus []*menu // as they first appear
	index map[string]*menu
	at    map[int]*menu // by first line
	lines int
}

// menu is all that a text has under one path.
type menu struct {
	path     string // with spaces
	line     int    // where it first stands, from 1
	commands [][]byte
	numbers  []int // the line of each command
}

// readDocument reads text in linear time.
func readDocument(text []byte) *document {
	d := &document{index: map[string]*menu{}, at: map[int]*menu{}}
	var m *menu
	var path []byte
	for line := range bytes.Lines(text) {
		d.lines++
		command := bytes.TrimRight(line, "\r\n")
		if len(command) == 0 {
			continue
		}
		if command[0] == '/' {
			path, command = splitMenu(path[:0], command)
			m = d.enter(path)
		} else if m == nil {
			m = d.enter(nil)
		}
		if len(command) > 0 {
			m.commands = append(m.commands, command)
			m.numbers = append(m.numbers, d.lines)
		}
	}
	return d
}

// splitMenu is cutMenu with the path appended to out in one form for all releases.
func splitMenu(out, line []byte) (path, command []byte) {
	menu, command := cutMenu(line)
	out = append(out, menu...)
	for i := range out {
		if i > 0 && out[i] == '/' {
			out[i] = ' '
		}
	}
	return out, command
}

func (d *document) enter(path []byte) *menu {
	m := d.index[string(path)]
	if m == nil {
		m = &menu{path: string(path), line: d.lines}
		d.menus = append(d.menus, m)
		d.index[m.path], d.at[m.line] = m, m
	}
	return m
}

func (m *menu) count() int {
	if m == nil {
		return 0
	}
	return len(m.commands)
}

// ordered are the menus whose items RouterOS tries one after another, so that a move means something; rules says which of
// them people call rules.
var ordered = []struct {
	path  string
	rules bool
}{
	{"/ip firewall filter", true}, {"/ip firewall nat", true}, {"/ip firewall mangle", true}, {"/ip firewall raw", true},
	{"/ipv6 firewall filter", true}, {"/ipv6 firewall nat", true}, {"/ipv6 firewall mangle", true}, {"/ipv6 firewall raw", true},
	{"/interface bridge filter", true}, {"/interface bridge nat", true}, {"/interface ethernet switch rule", true},
	{"/interface wireless access-list", true}, {"/interface wireless connect-list", true}, {"/interface wifi access-list", true},
	{"/interface wifi provisioning", true}, {"/caps-man access-list", true}, {"/caps-man provisioning", true},
	{"/routing filter", true}, {"/routing rule", true}, {"/ip route rule", true}, {"/ip hotspot walled-garden", true},
	{"/ip proxy access", true}, {"/ip proxy cache", true}, {"/ip proxy direct", true}, {"/system logging", true},
	{"/queue simple", false}, {"/ip ipsec policy", false}, {"/ip dns static", false}, {"/radius", false},
}

// order says whether the order of m's items means something, and whether they are rules.
func (m *menu) order() (matters, rules bool) {
	for _, o := range ordered {
		if under([]byte(m.path), o.path) {
			return true, o.rules
		}
	}
	return false, false
}

func (m *menu) noun() string {
	if _, rules := m.order(); rules {
		return "rule"
	}
	return "item"
}

// statement is a command taken apart.
type statement struct {
	verb   string
	target []byte // what it is about: 0, full, [ find default-name=ether1 ]
	params []assignment
	broken bool // not a command of a menu, or its quotes do not close
}

// assignment is one parameter; value is as printed, with its quotes. Of a word without an equals sign it is the name.
type assignment struct {
	name  string
	value []byte
	unset bool // !name
}

// readStatement takes one command of a menu apart.
func readStatement(command []byte) statement {
	verb, rest := cutVerb(command)
	s := statement{verb: string(verb), broken: len(verb) == 0 || !closed(command)}
	if s.broken {
		return s
	}
	if s.verb != "add" {
		s.target, rest = cutTarget(rest)
	}
	prefix := ""
	for {
		var word []byte
		if word, rest = nextWord(rest); len(word) == 0 {
			return s
		}
		a := readAssignment(word)
		a.name = prefixed(&prefix, a.name)
		s.params = append(s.params, a)
	}
}

// cutTarget cuts what a command is about off the rest of it: nothing, a word, or [ find ... ].
func cutTarget(rest []byte) (target, params []byte) {
	rest = trimLeft(rest)
	word, after := nextWord(rest)
	if len(word) == 0 || word[0] == '!' {
		return nil, rest
	}
	if word[0] != '[' {
		if _, _, ok := parameter(word); ok {
			return nil, rest
		}
		return word, after
	}
	for word[len(word)-1] != ']' {
		if word, after = nextWord(after); len(word) == 0 {
			return nil, rest
		}
	}
	return rest[:len(rest)-len(after)], after
}

// prefixed is the whole name of a parameter: .width after channel.band is channel.width. It keeps the prefix for the next.
func prefixed(prefix *string, name string) string {
	switch at := strings.IndexByte(name, '.'); {
	case at == 0:
		return *prefix + name
	case at > 0:
		*prefix = name[:at]
	}
	return name
}

func readAssignment(word []byte) assignment {
	if name, _, ok := parameter(word); ok {
		return assignment{name: string(name), value: word[len(name)+1:]}
	}
	if word[0] == '!' {
		return assignment{name: string(word[1:]), unset: true}
	}
	return assignment{name: string(word)}
}

// closed says whether the quotes of a line close.
func closed(line []byte) bool {
	quoted := false
	for at := 0; at < len(line); at++ {
		switch line[at] {
		case '"':
			quoted = !quoted
		case '\\':
			at++
		}
	}
	return !quoted
}

// get is the decoded value of a parameter, "" where it is not set.
func (s *statement) get(name string) string {
	for i := range s.params {
		if s.params[i].name == name {
			return decode(s.params[i].value)
		}
	}
	return ""
}

// decode reads a value as printed.
func decode(value []byte) string {
	if quoted, ok := bytes.CutPrefix(value, []byte(`"`)); ok {
		return unescape(string(quoted))
	}
	return string(value)
}
