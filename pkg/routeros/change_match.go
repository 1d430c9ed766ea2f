package routeros

import "slices"

// items tells what changed between the commands of one menu, which are in before, in after (nil: not there), or in both.
func (c *comparison) items(before, after *menu) {
	m := newMatching(before, after)
	m.matchEqual()
	m.matchKeys()
	m.matchAlike()
	m.matchPlaces()
	m.findMoves()
	for i, j := range m.toNew {
		if j >= 0 {
			c.successor[before.numbers[i]] = after.numbers[j]
		}
	}
	c.tellItems(m)
}

// matching says which commands of a menu became which.
type matching struct {
	before, after *menu
	toNew, toOld  []int // -1: none
	blocks        []block
	old, new      []int       // those without a match when matchEqual was done
	oldRead       []statement // of old
	newRead       []statement // of new
	moved         []pair      // matched, but not in the order of the others
}

func newMatching(before, after *menu) *matching {
	if before == nil {
		before = &menu{path: after.path}
	}
	if after == nil {
		after = &menu{path: before.path}
	}
	m := &matching{before: before, after: after, toNew: make([]int, before.count()), toOld: make([]int, after.count())}
	for i := range m.toNew {
		m.toNew[i] = -1
	}
	for i := range m.toOld {
		m.toOld[i] = -1
	}
	return m
}

func (m *matching) link(old, new int) { m.toNew[old], m.toOld[new] = new, old }

// matchEqual matches equal commands, first those that kept their order.
func (m *matching) matchEqual() {
	pairs := align(m.before.commands, m.after.commands)
	for _, p := range pairs {
		m.link(p.old, p.new)
	}
	m.blocks = blocks(pairs, m.before.count(), m.after.count())
	rest := map[string][]int{}
	for i, j := range m.toNew {
		if j < 0 {
			rest[string(m.before.commands[i])] = append(rest[string(m.before.commands[i])], i)
		}
	}
	for j, i := range m.toOld {
		if i >= 0 {
			continue
		}
		if same := rest[string(m.after.commands[j])]; len(same) > 0 {
			m.link(same[0], j)
			rest[string(m.after.commands[j])] = same[1:]
		}
	}
	for i, j := range m.toNew {
		if j < 0 {
			m.old = append(m.old, i)
			m.oldRead = append(m.oldRead, readStatement(m.before.commands[i]))
		}
	}
	for j, i := range m.toOld {
		if i < 0 {
			m.new = append(m.new, j)
			m.newRead = append(m.newRead, readStatement(m.after.commands[j]))
		}
	}
}

// free says whether neither the a-th of old nor the b-th of new has a match, and both are commands that can become each other.
func (m *matching) free(a, b int) bool {
	return m.toNew[m.old[a]] < 0 && m.toOld[m.new[b]] < 0 && m.oldRead[a].verb == m.newRead[b].verb && !m.oldRead[a].broken && !m.newRead[b].broken
}

// matchKeys matches what is the same thing by what it is called.
func (m *matching) matchKeys() {
	m.matchBy(func(s *statement) string {
		switch name := s.get("name"); {
		case s.verb == "set":
			return "set " + string(s.target)
		case s.verb == "add" && name != "":
			return "add " + name
		}
		return ""
	}, false)
	m.matchBy(func(s *statement) string {
		if s.verb == "add" {
			return s.get("comment")
		}
		return ""
	}, true)
}

// matchBy matches statements with the same key, "" being none, in their order; or only where it stands once on each side.
func (m *matching) matchBy(keyFunc func(*statement) string, once bool) {
	olds := map[string][]int{}
	for a := range m.old {
		if key := keyFunc(&m.oldRead[a]); key != "" && m.toNew[m.old[a]] < 0 {
			olds[key] = append(olds[key], a)
		}
	}
	if len(olds) == 0 {
		return
	}
	news := map[string]int{}
	keys := make([]string, len(m.new))
	for b := range m.new {
		if m.toOld[m.new[b]] < 0 {
			keys[b] = keyFunc(&m.newRead[b])
			news[keys[b]]++
		}
	}
	for b, key := range keys {
		same := olds[key]
		if key == "" || len(same) == 0 || once && (len(same) > 1 || news[key] > 1) {
			continue
		}
		if m.free(same[0], b) {
			m.link(m.old[same[0]], m.new[b])
		}
		olds[key] = same[1:]
	}
}

// common is how many items may share a parameter before it says nothing about which of them is meant. It bounds the work.
const common = 16

// matchAlike matches what shares most parameters, of those that few others have.
func (m *matching) matchAlike() {
	having := m.rareParams()
	if len(having) == 0 {
		return
	}
	var found []candidate
	votes := make([]int, len(m.old))
	for b := range m.new {
		if m.toOld[m.new[b]] < 0 && m.newRead[b].verb == "add" {
			if best := m.mostAlike(b, having, votes); best.equal > 0 {
				found = append(found, best)
			}
		}
	}
	slices.SortStableFunc(found, func(x, y candidate) int { return y.equal - x.equal })
	for _, c := range found {
		if m.free(c.a, c.b) && alike(&m.oldRead[c.a], &m.newRead[c.b]) {
			m.link(m.old[c.a], m.new[c.b])
		}
	}
}

// candidate is what the b-th of new may have been.
type candidate struct{ a, b, equal, far int }

// rareParams are the added items of old without a match, by parameter; a list longer than common says too little.
func (m *matching) rareParams() map[string][]int {
	having := map[string][]int{}
	for a := range m.old {
		if m.toNew[m.old[a]] >= 0 || m.oldRead[a].verb != "add" {
			continue
		}
		for i := range m.oldRead[a].params {
			key := m.oldRead[a].params[i].key()
			if list := having[key]; len(list) <= common {
				having[key] = append(list, a)
			}
		}
	}
	return having
}

// mostAlike finds what shares most parameters with the b-th of new; of several, the nearest. votes is all zero before and after.
func (m *matching) mostAlike(b int, having map[string][]int, votes []int) (best candidate) {
	var voted []int
	for i := range m.newRead[b].params {
		list := having[m.newRead[b].params[i].key()]
		if len(list) > common {
			continue
		}
		for _, a := range list {
			if votes[a]++; votes[a] == 1 {
				voted = append(voted, a)
			}
		}
	}
	for _, a := range voted {
		c := candidate{a, b, votes[a], max(a-b, b-a)}
		if c.equal > best.equal || c.equal == best.equal && (c.far < best.far || c.far == best.far && a < best.a) {
			best = c
		}
		votes[a] = 0
	}
	return best
}

// matchPlaces matches what stands in the same place between equal commands.
func (m *matching) matchPlaces() {
	a, b := 0, 0
	for _, place := range m.blocks {
		for a < len(m.old) && m.old[a] < place.oldEnd && b < len(m.new) && m.new[b] < place.newEnd {
			switch {
			case m.toNew[m.old[a]] >= 0:
				a++
			case m.toOld[m.new[b]] >= 0:
				b++
			default:
				if m.free(a, b) && m.oldRead[a].verb == "add" && alike(&m.oldRead[a], &m.newRead[b]) {
					m.link(m.old[a], m.new[b])
				}
				a, b = a+1, b+1
			}
		}
		for a < len(m.old) && m.old[a] < place.oldEnd {
			a++
		}
		for b < len(m.new) && m.new[b] < place.newEnd {
			b++
		}
	}
}

// alike says whether two items can be one that was changed: one parameter differs, or no more than are equal. The time is
// linear in the shorter one.
func alike(old, new *statement) bool {
	n, most := len(old.params), len(new.params)
	if n > most {
		n, most = most, n
	}
	if most > 2*n+1 {
		return false
	}
	differ, equal := 0, len(new.params)
	eachDifference(old, new, func(_, now *assignment) {
		differ++
		if now != nil {
			equal--
		}
	})
	return differ <= 1 || differ <= equal
}

// findMoves finds the fewest matched commands whose moves explain the order.
func (m *matching) findMoves() {
	var all []pair
	for i, j := range m.toNew {
		if j >= 0 {
			all = append(all, pair{i, j})
		}
	}
	inOrder := rising(all)
	if len(inOrder) == len(all) {
		return
	}
	for _, p := range all {
		if len(inOrder) > 0 && inOrder[0] == p {
			inOrder = inOrder[1:]
		} else {
			m.moved = append(m.moved, p)
		}
	}
}

// key tells parameters with the same value from others.
func (a *assignment) key() string {
	if a.unset {
		return "!" + a.name
	}
	return a.name + "=" + string(a.value)
}

// eachDifference calls visit with each parameter that differs, in the order of the new statement, then what is gone; nil
// where one side has none of that name.
func eachDifference(old, new *statement, visit func(old, new *assignment)) {
	before := make(map[string][]*assignment, len(old.params))
	for i := range old.params {
		a := &old.params[i]
		before[a.name] = append(before[a.name], a)
	}
	for i := range new.params {
		b := &new.params[i]
		var a *assignment
		if list := before[b.name]; len(list) > 0 {
			a, before[b.name] = list[0], list[1:]
		}
		if a == nil || a.unset != b.unset || string(a.value) != string(b.value) {
			visit(a, b)
		}
	}
	for i := range old.params {
		a := &old.params[i]
		if list := before[a.name]; len(list) > 0 && list[0] == a {
			before[a.name] = list[1:]
			visit(a, nil)
		}
	}
}
