package routeros

import (
	"bytes"
	"strings"
)

// tally counts the items that are one command but for their secrets.
type tally struct {
	item string // in words

	lastWith, lastWithout, nowWith, nowWithout int
}

// gone says how many items lost their secret.
func (t *tally) gone() int { return max(0, min(t.lastWith-t.nowWith, t.nowWithout-t.lastWithout)) }

// SecretsGone compares two normal forms of one router: n items that had a secret value in last stand in now without one,
// in the same menu with the same command otherwise. item names the first of them in words, without secrets. The time is
// linear; the memory grows with the items of last that have a secret.
func SecretsGone(last, now []byte) (item string, n int) {
	index := map[string]int{}
	var tallies []tally
	eachItem(last, func(i *secretItem) {
		if !i.secret {
			return
		}
		at, ok := index[string(i.key)]
		if !ok {
			at = len(tallies)
			index[string(i.key)] = at
			tallies = append(tallies, tally{item: i.words()})
		}
		tallies[at].lastWith++
	})
	if len(tallies) == 0 {
		return "", 0
	}
	eachItem(last, func(i *secretItem) {
		if at, ok := index[string(i.key)]; ok && !i.secret {
			tallies[at].lastWithout++
		}
	})
	eachItem(now, func(i *secretItem) {
		switch at, ok := index[string(i.key)]; {
		case ok && i.secret:
			tallies[at].nowWith++
		case ok:
			tallies[at].nowWithout++
		}
	})
	for i := range tallies {
		if t := &tallies[i]; t.gone() > 0 {
			if n == 0 {
				item = t.item
			}
			n += t.gone()
		}
	}
	return item, n
}

// secretItem is one item of a normal form.
type secretItem struct {
	menu   []byte
	key    []byte // menu and command without sensitive parameters
	secret bool   // a sensitive parameter has a value

	name, first, verb []byte // what tells it from others, best first: the parameter name, its first word, what it does
	prefix            []byte // of the dotted parameter before, which the next may leave out
}

// eachItem calls visit with each item of a normal form. What it gets is valid only during the call.
func eachItem(normal []byte, visit func(*secretItem)) {
	var i secretItem
	for line := range bytes.Lines(normal) {
		command := bytes.TrimSuffix(line, []byte("\n"))
		if len(command) == 0 {
			continue
		}
		if command[0] == '/' {
			var menu []byte
			menu, command = cutMenu(command)
			i.menu = append(i.menu[:0], menu...)
		}
		if len(command) > 0 {
			i.read(command)
			visit(&i)
		}
	}
}

// read takes a command in.
func (i *secretItem) read(command []byte) {
	i.key = append(i.key[:0], i.menu...)
	for at := range i.key {
		if i.key[at] == '/' {
			i.key[at] = ' '
		}
	}
	i.secret, i.name, i.first, i.prefix = false, nil, nil, nil
	verb, rest := cutVerb(command)
	i.verb = verb
	i.key = append(append(i.key, '\n'), verb...)
	for len(rest) > 0 {
		word, after := nextWord(rest)
		name, value, ok := parameter(word)
		switch {
		case ok && isSensitive(i.menu, name):
			i.secret = i.secret || len(value) > 0
			i.dotted(name)
		case len(word) > 0:
			if string(name) == "name" {
				i.name = word
			}
			if i.first == nil {
				i.first = firstWords(rest)
			}
			i.key = append(i.key, ' ')
			i.key = append(append(i.key, i.dotted(name)...), word...)
		}
		rest = after
	}
}

// dotted is what a parameter's name leaves out because the one before began with it, as in channel.band=x .width=y. Which
// parameter comes first depends on whether the secrets are there.
func (i *secretItem) dotted(name []byte) []byte {
	switch at := bytes.IndexByte(name, '.'); {
	case at == 0:
		return i.prefix
	case at > 0:
		i.prefix = name[:at]
	}
	return nil
}

// firstWords is the first word of a command's rest, or all of [ find ... ].
func firstWords(rest []byte) []byte {
	word, after := nextWord(rest)
	if len(word) == 0 || word[0] != '[' {
		return word
	}
	end := bytes.IndexByte(after, ']')
	if end < 0 || bytes.ContainsAny(after[:end], `"`) {
		return word
	}
	return trimLeft(rest[:len(rest)-len(after)+end+1])
}

// words names the item.
func (i *secretItem) words() string {
	which := i.name
	if which == nil {
		which = i.first
	}
	if which == nil {
		which = i.verb
	}
	if words := strings.TrimSpace(clean(string(i.menu)) + " " + clean(string(which))); words != "" {
		return words
	}
	return "an item without a menu"
}
