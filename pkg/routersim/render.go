package routersim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// body is a rendered configuration without its header. Between runs only the status comments come and go.
type body struct {
	text  string
	slots []slot
}

// slot is a place where a status comment may stand.
type slot struct {
	at   int // offset in text
	line string
}

// render prints the menus, with the secrets or without them.
func render(menus []menu, show bool) body {
	var b strings.Builder
	var out body
	for _, m := range menus {
		b.WriteString(m.path + lineEnd)
		for i := range m.entries {
			if s := m.entries[i].status; s != "" {
				out.slots = append(out.slots, slot{at: b.Len(), line: s + lineEnd})
			}
			m.entries[i].render(&b, show)
		}
	}
	out.text = b.String()
	return out
}

func (e *entry) render(b *strings.Builder, show bool) {
	words := make([]string, 0, len(e.words))
	for _, w := range e.words {
		if show || !w.secret {
			words = append(words, w.text)
		}
	}
	wrapCommand(b, words)
}

func renderedLen(e *entry) int {
	var b strings.Builder
	e.render(&b, true)
	return b.Len()
}

// flicker is the body as run number run prints it. Two runs in a row differ: the first comment shows in every second one.
func (t body) flicker(run uint64) string {
	rng := rand.New(rand.NewPCG(run, 3))
	var b strings.Builder
	b.Grow(len(t.text) + 512)
	from := 0
	for i, s := range t.slots {
		shown := rng.IntN(2) == 1
		if i == 0 {
			shown = run%2 == 1
		}
		if shown {
			b.WriteString(t.text[from:s.at] + s.line)
			from = s.at
		}
	}
	b.WriteString(t.text[from:])
	return b.String()
}

// header is the comment block above the first menu.
func (p profile) header(now time.Time) string {
	lines := []string{"# " + p.date(now) + " by RouterOS " + p.version}
	switch {
	case p.model != "":
		lines = append(lines, "# software id = "+p.license, "#", "# model = "+p.model, "# serial number = "+p.serial)
	case p.version == "7.20.2":
		lines = append(lines, "# system id = "+p.license, "#", "#", "#")
	default:
		lines = append(lines, "# software id = "+p.license, "#", "#", "#")
	}
	return strings.Join(lines, lineEnd) + lineEnd
}

// date is the time as the release prints it.
func (p profile) date(now time.Time) string {
	switch {
	case !p.before710():
		return now.Format("2006-01-02 15:04:05")
	case p.padded:
		return strings.ToLower(now.Format("Jan")) + fmt.Sprintf("/%2d/%d %2d:%2d:%2d", now.Day(), now.Year(), now.Hour(), now.Minute(), now.Second())
	}
	return strings.ToLower(now.Format("Jan/02/2006 15:04:05"))
}
