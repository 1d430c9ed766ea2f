package routeros

import (
	"bytes"
	"slices"
	"strconv"
)

// class is what a line is that has no place in an export.
type class int

const (
	none       class = iota
	unknown          // nothing we know
	refusal          // an error text
	permission       // the error text for a missing policy
	interrupt        // the export was broken off
	prompt           // a console prompt
	login            // a screen of the interactive login
	second           // the header of another export
)

var (
	loginScreens = [][]byte{
		[]byte(`Please press "Enter"`),
		[]byte("Do you want to see the software license"),
		[]byte("new password>"),
		[]byte("remove this default configuration"),
		[]byte("ROUTER HAS NO SOFTWARE KEY"),
		[]byte("invalid user input"),
	}
	refusals = [][]byte{
		[]byte(optionUnknown),
		[]byte("bad command name"),
		[]byte("failure: "),
		[]byte("std failure: "),
		[]byte("input does not match"),
		[]byte("invalid value"),
		[]byte("no such item"),
		[]byte("syntax error"),
	}
)

// optionUnknown is what a router answers to an export option that its release does not have.
const optionUnknown = "expected end of command"

// stray says what a line at column 0 is that is neither a menu, an item nor a comment.
func stray(line []byte) class {
	switch {
	case bytes.HasPrefix(line, []byte("not enough permissions")):
		return permission
	case string(line) == "interrupted":
		return interrupt
	case atPrompt(line):
		return prompt
	case startsWith(line, loginScreens):
		return login
	case startsWith(line, refusals), positioned(line):
		return refusal
	}
	return unknown
}

func startsWith(line []byte, phrases [][]byte) bool {
	return slices.ContainsFunc(phrases, func(p []byte) bool { return bytes.HasPrefix(line, p) })
}

// positioned says whether line ends as the console's parse errors do: (line 1 column 9)
func positioned(line []byte) bool {
	at := bytes.LastIndex(line, []byte("(line "))
	return at >= 0 && bytes.Contains(line[at:], []byte(" column ")) && line[len(line)-1] == ')'
}

// column is N of such an error, 0 where there is none.
func column(line []byte) int {
	const word, most = " column ", 1 << 20
	n := 0
	for at := bytes.LastIndex(line, []byte(word)) + len(word); at < len(line) && digit(line[at]) && n < most; at++ {
		n = n*10 + int(line[at]-'0')
	}
	return n
}

// addOrSet says whether line starts as most commands do.
func addOrSet(line []byte) bool {
	return len(line) >= 4 && (string(line[:4]) == "add " || string(line[:4]) == "set ")
}

// item says whether line is a command of a menu.
func item(line []byte) bool {
	if addOrSet(line) {
		return true
	}
	const longest = len("disable")
	verb := line[:min(len(line), longest+1)]
	if at := bytes.IndexByte(verb, ' '); at >= 0 {
		verb = verb[:at]
	}
	switch string(verb) {
	case "add", "set", "unset", "enable", "disable", "move":
		return true
	case "remove":
		return !startsWith(line, loginScreens)
	}
	return false
}

// atPrompt says whether line starts as a prompt does: [admin@router] > or, with its head lost, /ip/address>
func atPrompt(line []byte) bool {
	if line[0] == '[' {
		at, end := bytes.IndexByte(line, '@'), bytes.Index(line, []byte("] "))
		return at > 0 && end > at && bytes.IndexByte(line[end:], '>') > 0
	}
	end := bytes.IndexByte(line, '>')
	return line[0] == '/' && end > 0 && !slices.ContainsFunc(line[:end], func(c byte) bool { return !pathByte(c) })
}

func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || digit(c) || c == '/' || c == ' ' || c == '-'
}

// quote shows the head of a line to an operator. It stops before the first value, which could be a secret.
func quote(line []byte) string {
	const most = 100
	cut := len(line)
	if at := bytes.IndexAny(line[:min(cut, most)], `="`); at >= 0 {
		cut = at
	}
	if cut = min(cut, most); cut < len(line) {
		return strconv.Quote(string(line[:cut])) + "..."
	}
	return strconv.Quote(string(line))
}
