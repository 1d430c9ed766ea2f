package routeros

import (
	"fmt"
	"strings"
)

const shownBytes = 48 // of a name or value in a summary

// tell makes the summary.
func (c *Change) tell(words string) {
	c.Summary = words
	if c.Menu != "" {
		c.Summary = c.Menu + ": " + words
	}
}

// naming are the parameters that name an item, best first.
var naming = []string{
	"address", "dst-address", "prefix", "network", "mac-address", "interface", "src-address", "ranges", "host", "server", "user", "peer",
	"bridge", "topics", "interfaces", "list",
}

// label names an item: for Change.Item, and with what it is for a summary. Both are empty for the settings of the menu itself.
func (m *menu) label(s *statement, at int) (item, label string) {
	_, rules := m.order()
	nameless := isHidden([]byte(m.path), []byte("name"))
	switch {
	case s.broken || s.verb != "add" && s.verb != "set":
		item = cut(string(redact(m.path, m.commands[at], nil)), 0, shownBytes)
		return item, "line '" + item + "'"
	case s.verb == "set" && len(s.target) == 0:
		return "", ""
	case s.verb == "set":
		if !nameless {
			item = s.get("name")
		}
		if item == "" {
			item = targetName(m.path, s.target)
		}
	case rules:
		if item = s.name(); item == "" {
			item = fmt.Sprintf("#%d", at+1)
			return item, "rule " + item + s.gist()
		}
	default:
		if !nameless {
			item = s.name()
		}
		if item == "" {
			item = s.thing()
		}
	}
	if item == "" {
		item = fmt.Sprintf("#%d", at+1)
		return item, "item " + item
	}
	item = cut(item, 0, shownBytes)
	if rules {
		return item, "rule '" + item + "'"
	}
	return item, "'" + item + "'"
}

// name is what a person called an item, "" for none. The comment defconf stands on everything that came with the router.
func (s *statement) name() string {
	if name := s.get("name"); name != "" {
		return name
	}
	if list := s.get("list"); list != "" {
		if member := s.get("address") + s.get("interface"); member != "" {
			return list + " " + member
		}
	}
	if comment := s.get("comment"); comment != "defconf" {
		return comment
	}
	return ""
}

// thing is what an item is about.
func (s *statement) thing() string {
	for _, name := range naming {
		if value := s.get(name); value != "" {
			return value
		}
	}
	return ""
}

// gist is what a rule without a name does.
func (s *statement) gist() string {
	gist := strings.TrimSpace(s.get("chain") + " " + s.get("action"))
	if gist == "" {
		return ""
	}
	return " (" + cut(gist, 0, shownBytes) + ")"
}

// targetName is what a target points at: ether1 of [ find default-name=ether1 ].
func targetName(path string, target []byte) string {
	if target[0] != '[' {
		return decode(target)
	}
	names := ""
	for rest := target; ; {
		var word []byte
		if word, rest = nextWord(rest); len(word) == 0 {
			break
		}
		name, value, ok := parameter(word)
		switch {
		case !ok || isHidden([]byte(path), name):
		case string(value) == "yes": // default=yes
			names += " " + string(name)
		default:
			names += " " + decode(word[len(name)+1:])
		}
	}
	if names = strings.TrimSpace(names); names == "" {
		return "[ find ]"
	}
	return names
}

// paramWords says for each parameter what became of it; item is how the item was called.
func paramWords(params []Param, item string) []string {
	const most = 4
	var out []string
	for i := range params {
		if i == most && len(params) > most+1 {
			return append(out, plural(len(params)-most, "more parameter"))
		}
		out = append(out, params[i].words(item))
	}
	return out
}

func (p *Param) words(item string) string {
	old, new := cutPair(p.Old, p.New, shownBytes)
	switch {
	case p.lines:
		return fmt.Sprintf("%s changed, +%d -%d lines", p.Name, p.LinesAdded, p.LinesRemoved)
	case p.Hidden:
		return p.Name + " (changed)"
	case p.Name == "disabled" && new == "yes":
		return "disabled"
	case p.Name == "disabled" && old == "yes":
		return "enabled"
	case p.Name == "name" && item != "" && p.wasSet && p.isSet:
		return "renamed to '" + new + "'"
	case p.wasSet && p.isSet:
		return fmt.Sprintf("%s '%s' -> '%s'", p.Name, old, new)
	case p.isSet:
		return fmt.Sprintf("%s set to '%s'", p.Name, new)
	}
	return fmt.Sprintf("%s no longer set (was '%s')", p.Name, old)
}

// join puts a label before what became of it: "'x' disabled", but "'x': mtu '1' -> '2'".
func join(label string, words []string) string {
	all := strings.Join(words, ", ")
	switch {
	case label == "":
		return all
	case len(words) == 1 && (all == "disabled" || all == "enabled" || strings.HasPrefix(all, "renamed to ")):
		return label + " " + all
	}
	return label + ": " + all
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
