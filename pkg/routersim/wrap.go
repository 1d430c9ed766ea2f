package routersim

import (
	"fmt"
	"strings"
)

// The columns at which exports wrap, the backslash included.
const (
	WidthDefault = 79 // where there is no terminal, whatever the client asks for
	WidthMin     = 20
)

const (
	wrapIndent = "    "
	lineEnd    = "\r\n"
	bareMax    = 73 // longer values are quoted, whatever the width
)

func clampWidth(columns int) int {
	if columns <= 0 {
		return 0
	}
	return max(columns, WidthMin)
}

// wrapper writes one command over as many physical lines as it needs.
type wrapper struct {
	b     *strings.Builder
	width int // 0: no wrap
	col   int
}

// wrapCommand writes the words of one command, each plain or name=value with the value already quoted, and ends the line.
func wrapCommand(b *strings.Builder, words []string, width int) {
	w := wrapper{b: b, width: width}
	for i, word := range words {
		last := i == len(words)-1
		name, value, pair := strings.Cut(word, "=")
		if !pair {
			w.unit(word, last)
			continue
		}
		w.unit(name+"=", false)
		w.value(value, last)
	}
	b.WriteString(lineEnd)
}

// room is the width without the space and the backslash that may follow a word.
func (w *wrapper) room() int { return w.width - len(` \`) }

// unit writes text that is never split. The space that follows it comes on top of the room, as RouterOS breaks after a space.
func (w *wrapper) unit(text string, last bool) {
	if w.width > 0 && w.col > 0 && w.col+len(text) > w.room() {
		w.breakLine()
	}
	w.write(text)
	if !last && !strings.HasSuffix(text, "=") {
		w.write(" ")
	}
}

// value writes a value. A quoted one that no line can hold starts where it stands and is cut mid word.
func (w *wrapper) value(text string, last bool) {
	fits := len(wrapIndent)+len(text) <= w.room() && !strings.Contains(text, `\n`)
	if w.width == 0 || fits || !strings.HasPrefix(text, `"`) {
		w.unit(text, last)
		return
	}
	body := strings.TrimSuffix(text, `"`)
	for len(body) > 0 {
		a := atom(body)
		body = body[len(a):]
		if a == `\n` || w.col+len(a) > w.width-1 {
			w.breakLine()
			if a == " " {
				a = `\_` // or it would be lost among the indent
			}
		}
		w.write(a)
	}
	w.unit(`"`, last)
}

func (w *wrapper) breakLine() {
	w.b.WriteString(`\` + lineEnd + wrapIndent)
	w.col = len(wrapIndent)
}

func (w *wrapper) write(s string) {
	w.b.WriteString(s)
	w.col += len(s)
}

// atom is the first character of a quoted string, an escape counting as one.
func atom(s string) string {
	switch {
	case s[0] != '\\' || len(s) == 1:
		return s[:1]
	case len(s) > 2 && isHex(s[1]) && isHex(s[2]):
		return s[:3]
	}
	return s[:2]
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

// quote writes a value as an export prints it: bare where it can be, else in quotes with escapes.
func quote(v string, v6 bool) string {
	if v != "" && len(v) <= bareMax && !strings.ContainsFunc(v, needsQuote) {
		return v
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(v) {
		switch c := v[i]; {
		case c == '"', c == '\\', c == '$', c == '?' && v6:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func needsQuote(r rune) bool {
	plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/:,!+*@", r)
	return !plain
}
