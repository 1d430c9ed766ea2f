package routeros

import "bytes"

// What stands for the values of sensitive parameters and scripts in a difference that leaves the house.
const (
	valueHidden  = "(hidden)"
	valueChanged = "(changed)"
)

// passwords are parameters that RouterOS shows to everybody who may read, and that let somebody in all the same. They count for
// no verdict on an export, but no difference shows them.
var passwords = map[string]string{"name": "/snmp community", "trap-community": "/snmp", "value": "/container envs"}

// isHidden says whether no difference shows the value of a parameter of menu.
func isHidden(menu, name []byte) bool {
	path, ok := passwords[string(name)]
	return ok && under(menu, path) || isSensitive(menu, name)
}

// UnifiedRedacted is Unified for two normal forms, fit to be published or mailed: the values of sensitive parameters and
// scripts, and quoted text in lines that are no command of a menu, are (changed) where Changes says so, and (hidden) elsewhere.
func UnifiedRedacted(old, new []byte, oldName, newName string, context int) string {
	context = max(context, 0)
	a, b := splitLines(old), splitLines(new)
	all := blocks(align(a, b), len(a), len(b))
	changedOld, changedNew := changedSecrets(Changes(old, new))
	shownOld, shownNew := make([]bool, len(a)), make([]bool, len(b))
	for _, d := range all {
		mark(shownOld, d.old-context, d.oldEnd+context)
		mark(shownNew, d.new-context, d.newEnd+context)
	}
	return unified(redactLines(a, shownOld, changedOld), redactLines(b, shownNew, changedNew), all, oldName, newName, context)
}

func mark(lines []bool, from, to int) {
	for i := max(from, 0); i < min(to, len(lines)); i++ {
		lines[i] = true
	}
}

// changedSecrets are the hidden parameters that differ, by line of the old and the new text.
func changedSecrets(changes []Change) (old, new map[int][]Param) {
	old, new = map[int][]Param{}, map[int][]Param{}
	for i := range changes {
		if c := &changes[i]; c.Action == ActionChanged && c.OldLine > 0 && c.NewLine > 0 {
			old[c.OldLine], new[c.NewLine] = c.Params, c.Params
		}
	}
	return old, new
}

// redactLines is lines, those that are shown without their secrets; changed is by line, from 1.
func redactLines(lines [][]byte, shown []bool, changed map[int][]Param) [][]byte {
	out := make([][]byte, len(lines))
	path := ""
	var buffer []byte
	for i, line := range lines {
		command := bytes.TrimRight(line, "\r\n")
		end := line[len(command):]
		head := 0
		if len(command) > 0 && command[0] == '/' {
			var menu []byte
			if menu, command = splitMenu(buffer[:0], command); string(menu) != path {
				path = string(menu)
			}
			buffer = menu
			head = len(line) - len(end) - len(command)
		}
		if out[i] = line; shown[i] && len(command) > 0 {
			if safe := redact(path, command, changed[i+1]); len(safe) != len(command) || !bytes.Equal(safe, command) {
				out[i] = append(append(bytes.Clone(line[:head]), safe...), end...)
			}
		}
	}
	return out
}

// redact is a command without its secrets: command itself where it has none.
func redact(path string, command []byte, changed []Param) []byte {
	verb, _ := cutVerb(command)
	var out []byte
	kept := 0 // what of command stands in out
	prefix := ""
	for rest := command; ; {
		var word []byte
		if word, rest = nextWord(rest); len(word) == 0 {
			break
		}
		at := len(command) - len(rest) - len(word)
		name, value, ok := parameter(word)
		full := prefixed(&prefix, string(name))
		switch {
		case ok && len(value) > 0 && (isScript(full) || isHidden([]byte(path), name)):
			at += len(name) + 1
		case (!closed(word) || len(verb) == 0) && bytes.IndexByte(word, '"') >= 0:
			at += bytes.IndexByte(word, '"')
		default:
			continue
		}
		out = append(append(out, command[kept:at]...), replacement(full, changed)...)
		kept = len(command) - len(rest)
	}
	if kept == 0 {
		return command
	}
	return append(out, command[kept:]...)
}

func replacement(name string, changed []Param) string {
	for i := range changed {
		if changed[i].Hidden && changed[i].Name == name {
			return valueChanged
		}
	}
	return valueHidden
}
