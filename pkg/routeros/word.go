package routeros

import "bytes"

// nextWord cuts the first word off a line without wraps: up to a blank that stands outside quotes.
func nextWord(line []byte) (word, rest []byte) {
	start := 0
	for start < len(line) && blank(line[start]) {
		start++
	}
	quoted := false
	for at := start; at < len(line); at++ {
		switch line[at] {
		case '"':
			quoted = !quoted
		case '\\':
			at++
		case ' ', '\t':
			if !quoted {
				return line[start:at], line[at:]
			}
		}
	}
	return line[start:], nil
}

// cutVerb cuts what a command does off it; the verb is empty where it does not say.
func cutVerb(command []byte) (verb, rest []byte) {
	if verb, rest = nextWord(command); item(verb) {
		return verb, rest
	}
	return nil, command
}

// parameter takes a word name=value apart. The value is without its quotes; ok is false where the word is no parameter.
func parameter(word []byte) (name, value []byte, ok bool) {
	at := bytes.IndexByte(word, '=')
	if at <= 0 || bytes.IndexByte(word[:at], '"') >= 0 {
		return nil, nil, false
	}
	return word[:at], bytes.Trim(word[at+1:], `"`), true
}

// cutMenu takes a line that starts with a menu's path apart: the path, and the command on the same line.
func cutMenu(line []byte) (menu, command []byte) {
	rest := line
	for len(rest) > 0 {
		word, after := nextWord(rest)
		if len(word) == 0 {
			break
		}
		if item(word) || word[0] == '[' || bytes.IndexByte(word, '=') >= 0 {
			at := len(line) - len(after) - len(word)
			return trimRight(line[:at]), line[at:]
		}
		rest = after
	}
	return trimRight(line), nil
}

// same compares menus over releases: RouterOS 6 writes /ip socks, 7 /ip/socks in places.
func same(menu []byte, path string) bool { return len(menu) == len(path) && under(menu, path) }

// under says whether menu is path or a menu below it. Most differ in the last letter of path already.
func under(menu []byte, path string) bool {
	n := len(path)
	return len(menu) >= n && menu[n-1] == path[n-1] && (len(menu) == n || separator(menu[n])) && sameWords(menu[:n], path)
}

func sameWords(menu []byte, path string) bool {
	for i := range menu {
		if menu[i] != path[i] && (!separator(menu[i]) || !separator(path[i])) {
			return false
		}
	}
	return true
}

func separator(c byte) bool { return c == ' ' || c == '/' }

func blank(c byte) bool { return c == ' ' || c == '\t' }

// trimRight is bytes.TrimRight for blanks, which runs for every line and builds no set.
func trimRight(line []byte) []byte {
	for len(line) > 0 && blank(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	return line
}

// trimEnd is trimRight for a line whose end may have come from several line ends.
func trimEnd(line []byte) []byte {
	for len(line) > 0 && (blank(line[len(line)-1]) || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	return line
}

// trimLeft is bytes.TrimLeft for blanks.
func trimLeft(line []byte) []byte {
	for len(line) > 0 && blank(line[0]) {
		line = line[1:]
	}
	return line
}
