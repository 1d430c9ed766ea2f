package routeros

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Action is what happened to an item.
type Action string

// The values of Change.Action.
const (
	ActionAdded   Action = "added"
	ActionRemoved Action = "removed"
	ActionChanged Action = "changed"
	ActionMoved   Action = "moved"
)

// Change is one difference between two normal forms. No field shows the value of a sensitive parameter or of a script.
type Change struct {
	Menu   string `json:"menu"` // path with spaces; "" before the first menu
	Item   string `json:"item"` // as a person names it, in the old text where it stands there; "" for the menu as a whole
	Action Action `json:"action"`
	Count  int    `json:"count"` // items that it is about: not 1 only where a menu came, went or got another order

	// Params differ. Where a set command came or went: all that it sets, since without it the router's default holds.
	Params []Param `json:"params,omitempty"`

	// From and To are the item's places in the menu, from 1, where it moved; 0 otherwise.
	From int `json:"from,omitempty"`
	To   int `json:"to,omitempty"`

	// OldLine and NewLine are its lines in the texts, from 1; 0 where it is in one only.
	OldLine int `json:"old_line"`
	NewLine int `json:"new_line"`

	Summary string `json:"summary"` // one line in words, with the menu; a few hundred bytes at most
}

// Param is a parameter that differs.
type Param struct {
	Name string `json:"name"` // in full: security.passphrase, not .passphrase

	// Old and New are its values without quotes and escapes, cut around their first difference where they are long. Both
	// are "" where the value is hidden or has several lines.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`

	Hidden bool `json:"hidden,omitempty"` // sensitive, or a script

	// LinesAdded and LinesRemoved count what changed in a script or in another value of several lines.
	LinesAdded   int `json:"lines_added,omitempty"`
	LinesRemoved int `json:"lines_removed,omitempty"`

	lines  bool // the counts are all that is told
	wasSet bool
	isSet  bool
}

// Changes are the differences between two normal forms of one router, in the order of the new text; what is gone stands
// where it was. Every line that differs is told once. It is empty only where the texts are equal. The time is n log n.
func Changes(old, new []byte) []Change {
	if bytes.Equal(old, new) {
		return nil
	}
	c := comparison{old: readDocument(old), new: readDocument(new)}
	c.successor = make([]int, c.old.lines+1)
	for _, m := range c.new.menus {
		before := c.old.index[m.path]
		if before != nil {
			c.successor[before.line] = m.line
		}
		c.compare(before, m)
	}
	for _, m := range c.old.menus {
		if c.new.index[m.path] == nil {
			c.compare(m, nil)
		}
	}
	c.compareOrder()
	if len(c.changes) == 0 {
		return []Change{{Action: ActionChanged, Summary: "the same configuration, laid out in another way"}}
	}
	c.sort()
	return c.changes
}

// Summarize says in one line what changes are about: the first of them, and how many more; "" for none.
func Summarize(changes []Change) string {
	switch len(changes) {
	case 0:
		return ""
	case 1:
		return changes[0].Summary
	}
	return fmt.Sprintf("%s (and %d more)", changes[0].Summary, len(changes)-1)
}

// comparison gathers the changes between two texts.
type comparison struct {
	old, new  *document
	successor []int // by line of the old text: the line that it became, 0 where it is gone
	changes   []Change
}

// compare takes in the menu that is before in the old text and after in the new one; nil: it is not there.
func (c *comparison) compare(before, after *menu) {
	gone, come := before.count(), after.count()
	switch {
	case gone == 0 && come == 0:
		if before == nil || after == nil {
			c.whole(before, after)
		}
	case gone == 0 && come > 1 || come == 0 && gone > 1:
		c.whole(before, after)
	default:
		c.items(before, after)
	}
}

// whole tells that a menu came or went with all its items.
func (c *comparison) whole(before, after *menu) {
	change := Change{Action: ActionAdded}
	m := after
	if after.count() < before.count() || after == nil {
		change.Action, m = ActionRemoved, before
	}
	change.Menu, change.Count = clean(m.path), m.count()
	if change.Action == ActionAdded {
		change.NewLine = m.line
	} else {
		change.OldLine = m.line
	}
	what := "menu"
	if change.Count > 0 {
		what = plural(change.Count, m.noun())
	}
	change.tell(what + " " + string(change.Action))
	c.changes = append(c.changes, change)
}

// compareOrder tells which menus stand in another order.
func (c *comparison) compareOrder() {
	var both []pair
	for _, m := range c.old.menus {
		if after := c.new.index[m.path]; after != nil {
			both = append(both, pair{m.line, after.line})
		}
	}
	inOrder := rising(both)
	for _, p := range both {
		if len(inOrder) > 0 && inOrder[0] == p {
			inOrder = inOrder[1:]
			continue
		}
		m := c.new.at[p.new]
		change := Change{Menu: clean(m.path), Action: ActionMoved, OldLine: p.old, NewLine: p.new, Count: m.count()}
		change.tell("the menu stands elsewhere in the export")
		c.changes = append(c.changes, change)
	}
}

// sort puts the changes in the order of the new text.
func (c *comparison) sort() {
	for line := 1; line < len(c.successor); line++ {
		if c.successor[line] == 0 {
			c.successor[line] = c.successor[line-1]
		}
	}
	place := func(change *Change) (line, gone int) {
		if change.NewLine > 0 {
			return change.NewLine, 0
		}
		return c.successor[change.OldLine], 1
	}
	slices.SortStableFunc(c.changes, func(a, b Change) int {
		lineA, goneA := place(&a)
		lineB, goneB := place(&b)
		return cmp.Or(lineA-lineB, goneA-goneB, a.OldLine-b.OldLine)
	})
}
