package routersim

import (
	"fmt"
	"strings"
)

// command is one parsed command of an exec line.
type command struct {
	put   bool   // print text; otherwise an export
	text  string // of put, without its line end
	getID bool   // put prints the identity
	show  bool   // the export shows secrets
}

// parse reads a whole exec line, as RouterOS does before it runs any of it. A line that does not parse gives the error
// text the router prints and no command.
func parse(line string, v6 bool) (cmds []command, problem string) {
	p := parser{line: line, v6: v6}
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
		if !p.done() && !p.eat(";") {
			return nil, p.problem("expected end of command")
		}
	}
}

type parser struct {
	line string
	at   int
	v6   bool
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

func (p *parser) export() (command, string) {
	p.spaces()
	from := p.at
	switch p.word() {
	case "":
		return command{show: p.v6}, ""
	case "hide-sensitive":
		return command{}, ""
	case "show-sensitive":
		if !p.v6 {
			return command{show: true}, ""
		}
	}
	p.at = from
	return command{}, p.problem("expected end of command")
}

func (p *parser) put() (command, string) {
	p.spaces()
	if p.eat("[/system identity get name]") {
		return command{put: true, getID: true}, ""
	}
	if !p.eat(`"`) {
		return command{}, p.problem("expected end of command")
	}
	var text strings.Builder
	for !p.done() {
		c := p.line[p.at]
		p.at++
		switch {
		case c == '"':
			return command{put: true, text: text.String()}, ""
		case c == '$' || c == '\r' || c == '\n':
			return command{}, p.problem("syntax error")
		case c != '\\':
			text.WriteByte(c)
			continue
		}
		if p.done() {
			break
		}
		plain, ok := escapes[p.line[p.at]]
		if !ok {
			return command{}, p.problem("bad escape sequence")
		}
		text.WriteByte(plain)
		p.at++
	}
	return command{}, p.problem("expected closing quote")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', 'n': '\n', 'r': '\r', 't': '\t', '$': '$', '_': ' ', '?': '?'}
