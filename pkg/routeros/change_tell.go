package routeros

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// tellItems adds what m found to the changes.
func (c *comparison) tellItems(m *matching) {
	matters, _ := m.after.order()
	moved := make(map[int]bool, len(m.moved))
	shuffled := 0
	for _, p := range m.moved {
		equal := bytes.Equal(m.before.commands[p.old], m.after.commands[p.new])
		if moved[p.old] = matters; matters && equal {
			c.changes = append(c.changes, m.moveChange(p))
		} else if equal {
			shuffled++
		}
	}
	if shuffled > 0 {
		change := Change{Menu: clean(m.after.path), Action: ActionMoved, Count: shuffled, OldLine: m.before.line, NewLine: m.after.line}
		change.tell(plural(shuffled, "item") + " in another order")
		c.changes = append(c.changes, change)
	}
	for a, i := range m.old {
		j := m.toNew[i]
		if j < 0 {
			c.changes = append(c.changes, m.oneSided(m.before, &m.oldRead[a], i, ActionRemoved))
			continue
		}
		b, _ := slices.BinarySearch(m.new, j)
		c.changes = append(c.changes, m.paramChange(a, b, moved[i]))
	}
	for b, j := range m.new {
		if m.toOld[j] < 0 {
			c.changes = append(c.changes, m.oneSided(m.after, &m.newRead[b], j, ActionAdded))
		}
	}
}

// moveChange tells that an item moved and did not change otherwise.
func (m *matching) moveChange(p pair) Change {
	s := readStatement(m.before.commands[p.old])
	item, label := m.before.label(&s, p.old)
	change := Change{
		Menu: clean(m.after.path), Item: item, Action: ActionMoved, Count: 1, From: p.old + 1, To: p.new + 1,
		OldLine: m.before.numbers[p.old], NewLine: m.after.numbers[p.new],
	}
	change.tell(strings.TrimSpace(label + " " + change.move()))
	return change
}

func (c *Change) move() string { return fmt.Sprintf("moved from place %d to %d", c.From, c.To) }

// paramChange tells what differs between the a-th of old and the b-th of new.
func (m *matching) paramChange(a, b int, moved bool) Change {
	i, j := m.old[a], m.new[b]
	item, label := m.before.label(&m.oldRead[a], i)
	change := Change{
		Menu: clean(m.after.path), Item: item, Action: ActionChanged, Count: 1,
		Params:  paramsOf(m.after.path, &m.oldRead[a], &m.newRead[b]),
		OldLine: m.before.numbers[i], NewLine: m.after.numbers[j],
	}
	words := paramWords(change.Params, item)
	if len(words) == 0 {
		words = []string{"written in another way"}
	}
	if moved {
		change.From, change.To = i+1, j+1
		words = append(words, change.move())
	}
	change.tell(join(label, words))
	return change
}

// oneSided tells that a command came or went.
func (m *matching) oneSided(side *menu, s *statement, at int, action Action) Change {
	item, label := side.label(s, at)
	change := Change{Menu: clean(side.path), Item: item, Action: action, Count: 1}
	none := statement{}
	if action == ActionAdded {
		change.NewLine = side.numbers[at]
	} else {
		change.OldLine = side.numbers[at]
	}
	if s.verb == "set" && !s.broken {
		if action == ActionAdded {
			change.Params = paramsOf(side.path, &none, s)
		} else {
			change.Params = paramsOf(side.path, s, &none)
		}
	}
	if words := paramWords(change.Params, item); len(words) > 0 {
		change.tell(join(label, words))
	} else {
		change.tell(strings.TrimSpace(label + " " + string(action)))
	}
	return change
}

// paramsOf are the parameters that differ.
func paramsOf(path string, old, new *statement) []Param {
	var out []Param
	eachDifference(old, new, func(before, now *assignment) {
		p := Param{wasSet: before != nil && !before.unset, isSet: now != nil && !now.unset}
		var was, is []byte
		if before != nil {
			p.Name, was = before.name, before.value
		}
		if now != nil {
			p.Name, is = now.name, now.value
		}
		script := isScript(p.Name)
		p.Hidden = script || isHidden([]byte(path), []byte(p.Name))
		p.lines = script || !p.Hidden && (severalLines(was) || severalLines(is))
		switch {
		case p.lines:
			p.LinesAdded, p.LinesRemoved = statLines(was, is)
		case !p.Hidden:
			const most = 200 // bytes
			p.Old, p.New = shownPair(was, is, most)
		}
		p.Name = cut(p.Name, 0, shownBytes)
		out = append(out, p)
	})
	return out
}

// isScript says whether a parameter holds a script, which can hold secrets that no list knows.
func isScript(name string) bool {
	name = name[strings.LastIndexByte(name, '.')+1:]
	return name == "source" || strings.HasPrefix(name, "on-") || strings.HasSuffix(name, "script")
}

// valueLines takes a value apart at the line ends in it.
func valueLines(value []byte) [][]byte {
	value = bytes.TrimSuffix(bytes.TrimPrefix(value, []byte(`"`)), []byte(`"`))
	var out [][]byte
	start := 0
	for at := 0; at+1 < len(value); at++ {
		if value[at] != '\\' {
			continue
		}
		if at++; value[at] == 'n' {
			out = append(out, bytes.TrimSuffix(value[start:at-1], []byte(`\r`)))
			start = at + 1
		}
	}
	if start < len(value) {
		out = append(out, value[start:])
	}
	return out
}

func severalLines(value []byte) bool { return len(valueLines(value)) > 1 }

func statLines(old, new []byte) (added, removed int) {
	a, b := valueLines(old), valueLines(new)
	same := len(align(a, b))
	return len(b) - same, len(a) - same
}

// shownPair is two values as people read them, at most most bytes each, cut so that the first difference stays.
func shownPair(old, new []byte, most int) (was, is string) {
	if decode(old) == decode(new) && len(old)+len(new) > 0 {
		return cutPair(string(old), string(new), most) // only the way of writing differs
	}
	return cutPair(decode(old), decode(new), most)
}

func cutPair(old, new string, most int) (was, is string) {
	start := 0
	if len(old) > most || len(new) > most {
		for start < len(old) && start < len(new) && old[start] == new[start] {
			start++
		}
		if start -= most / 4; start < most/4 {
			start = 0
		}
	}
	return cut(old, start, most), cut(new, start, most)
}

// cut is at most most bytes of s from start on, and marks where it leaves something out.
func cut(s string, start, most int) string {
	const mark = "…"
	head, tail := "", ""
	if start > 0 {
		head, s = mark, s[start:]
	}
	if len(s) > most {
		tail, s = mark, s[:most]
	}
	return clean(head + strings.ToValidUTF8(s, "") + tail)
}
