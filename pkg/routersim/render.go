package routersim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// body is a rendered configuration without its header. Between runs only what stands in the slots comes and goes.
type body struct {
	text  string
	slots []slot
}

// slot is a place where one of several volatile lines may stand.
type slot struct {
	at    int      // offset in text
	texts []string // each of whole lines
}

// render prints the menus.
func render(menus []menu, v view) body {
	var b strings.Builder
	var out body
	for _, m := range menus {
		if m.dynamic { // the menu's line comes and goes with what it has
			out.slots = append(out.slots, slot{at: b.Len(), texts: []string{m.path + lineEnd + strings.Join(m.pages, "")}})
			continue
		}
		b.WriteString(m.path + lineEnd)
		for i := range m.entries {
			if s := m.entries[i].status; len(s) > 0 {
				out.slots = append(out.slots, slot{at: b.Len(), texts: s})
			}
			m.entries[i].render(&b, v)
		}
		for _, page := range m.pages {
			out.slots = append(out.slots, slot{at: b.Len(), texts: []string{page}})
		}
	}
	out.text = b.String()
	return out
}

func (e *entry) render(b *strings.Builder, v view) {
	words := make([]string, 0, len(e.words))
	for _, w := range e.words {
		if v.show || !w.secret {
			words = append(words, w.text)
		}
	}
	wrapCommand(b, words, v.width)
}

// nominal is the view in which an export's size is counted.
var nominal = view{show: true, width: WidthDefault}

func renderedLen(e *entry) int {
	var b strings.Builder
	e.render(&b, nominal)
	return b.Len()
}

// flicker is the body as run number run prints it. With FlickerRandom two runs in a row differ: something stands in the
// first slot in every second one.
func (t body) flicker(run uint64, f Flicker) string {
	if f == FlickerNone {
		return t.text
	}
	rng := rand.New(rand.NewPCG(run, 3))
	var b strings.Builder
	b.Grow(len(t.text) + 1024)
	from := 0
	for i, s := range t.slots {
		b.WriteString(t.text[from:s.at])
		from = s.at
		shown, n := rng.IntN(2) == 1, rng.IntN(len(s.texts))
		if i == 0 {
			shown = run%2 == 1
		}
		switch {
		case f == FlickerAll:
			b.WriteString(strings.Join(s.texts, ""))
		case shown:
			b.WriteString(s.texts[n])
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
