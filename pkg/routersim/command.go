package routersim

import (
	"fmt"
	"strings"
)

// command is one parsed command of an exec line.
type command struct {
	put    bool   // print text; otherwise an export
	text   string // of put, without its line end
	getID  bool   // put prints the identity
	sizeOf string // put prints the size of this file
	show   bool   // the export shows secrets
	file   string // the export goes into this file, without .rsc
}

// grammar is what a release understands.
type grammar struct {
	v6            bool
	markerRefused bool // no command may follow an export on its line
}

// parse reads a whole exec line, as RouterOS does before it runs any of it. A line that does not parse gives the error
// text the router prints and no command.
func parse(line string, g grammar) (cmds []command, problem string) {
	p := parser{line: line, grammar: g}
	for {
		p.spaces()
		switch {
		case p.done():
			return cmds, ""
		case p.eat(";"):
			continue
		}
		c, problem := p.command()
		if problem != "" {
			return nil, problem
		}
		cmds = append(cmds, c)
		p.spaces()
		switch {
		case p.done():
		case g.markerRefused && !c.put && p.line[p.at] == ';':
			return nil, p.problem("syntax error")
		case !p.eat(";"):
			return nil, p.problem("expected end of command")
		}
	}
}

type parser struct {
	grammar
	line string
	at   int
}

func (p *parser) done() bool { return p.at >= len(p.line) }

func (p *parser) spaces() {
	for !p.done() && (p.line[p.at] == ' ' || p.line[p.at] == '\t') {
		p.at++
	}
}

func (p *parser) eat(s string) bool {
	if !strings.HasPrefix(p.line[p.at:], s) {
		return false
	}
	p.at += len(s)
	return true
}

// word takes what a name may consist of.
func (p *parser) word() string {
	from := p.at
	for !p.done() && !strings.ContainsRune(" \t;\"[]{}\r\n/", rune(p.line[p.at])) {
		p.at++
	}
	return p.line[from:p.at]
}

func (p *parser) problem(what string) string {
	return fmt.Sprintf("%s (line 1 column %d)", what, p.at+1)
}

func (p *parser) command() (command, string) {
	if p.eat(":put") {
		return p.put()
	}
	p.eat("/")
	from := p.at
	name := p.word()
	if name == "export" {
		return p.export()
	}
	if name == "system" { // a menu: the name after it is what is wrong
		p.spaces()
		p.eat("/")
		from = p.at
		name = p.word()
	}
	p.at = from
	return command{}, p.problem("bad command name " + name)
}

// export reads what may follow the word: one switch for secrets and a file, in any order.
func (p *parser) export() (command, string) {
	c := command{show: p.v6}
	for switched := false; ; {
		p.spaces()
		from := p.at
		if c.file == "" && p.eat("file=") {
			name, problem := p.name()
			if problem != "" {
				return command{}, problem
			}
			c.file = name
			continue
		}
		switch w := p.word(); {
		case w == "":
			return c, ""
		case w == "hide-sensitive" && !switched:
			c.show = false
		case w == "show-sensitive" && !switched && !p.v6:
			c.show = true
		default:
			p.at = from
			return command{}, p.problem("expected end of command")
		}
		switched = true
	}
}

// name reads the name of a file, bare or in quotes. There are no folders.
func (p *parser) name() (string, string) {
	from := p.at
	name, problem := p.word(), ""
	if name == "" {
		name, problem = p.quoted()
	}
	if problem == "" && (name == "" || strings.Contains(name, "/")) {
		p.at, problem = from, "invalid value for argument name"
	}
	return name, problem
}

func (p *parser) put() (command, string) {
	p.spaces()
	if p.eat("[/system identity get name]") {
		return command{put: true, getID: true}, ""
	}
	if p.eat("[/file get ") {
		name, problem := p.name()
		if problem == "" && !p.eat(" size]") {
			problem = p.problem("expected closing brace")
		}
		return command{put: true, sizeOf: name}, problem
	}
	text, problem := p.quoted()
	return command{put: true, text: text}, problem
}

// quoted reads a string in quotes.
func (p *parser) quoted() (string, string) {
	if !p.eat(`"`) {
		return "", p.problem("expected end of command")
	}
	var text strings.Builder
	for !p.done() {
		c := p.line[p.at]
		p.at++
		switch {
		case c == '"':
			return text.String(), ""
		case c == '$' || c == '\r' || c == '\n':
			return "", p.problem("syntax error")
		case c != '\\':
			text.WriteByte(c)
			continue
		}
		if p.done() {
			break
		}
		plain, ok := escapes[p.line[p.at]]
		if !ok {
			return "", p.problem("bad escape sequence")
		}
		text.WriteByte(plain)
		p.at++
	}
	return "", p.problem("expected closing quote")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', 'n': '\n', 'r': '\r', 't': '\t', '$': '$', '_': ' ', '?': '?'}
