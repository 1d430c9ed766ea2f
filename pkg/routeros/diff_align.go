package routeros

import (
	"bytes"
	"slices"
)

// pair is the place of one line in two texts, from 0.
type pair struct{ old, new int }

// align pairs equal lines, rising in both texts. It trusts first the lines that stand once in each text, of those the
// longest run that is in order, and then those that stand once in each gap between two of them, and so on. An export has
// few other lines, and in return the time is n log n even where the texts have nothing in common.
func align(old, new [][]byte) []pair {
	head, most := 0, min(len(old), len(new))
	for head < most && bytes.Equal(old[head], new[head]) {
		head++
	}
	tail := 0
	for tail < most-head && bytes.Equal(old[len(old)-1-tail], new[len(new)-1-tail]) {
		tail++
	}
	a := aligner{pairs: make([]pair, 0, most)}
	a.run(pair{0, 0}, head)
	a.number(old[head:len(old)-tail], new[head:len(new)-tail], head)
	a.gap(block{0, len(a.old), 0, len(a.new)}, 0)
	a.run(pair{len(old) - tail, len(new) - tail}, tail)
	return a.pairs
}

// aligner compares lines by numbers, equal ones having the same.
type aligner struct {
	old, new []int
	offset   int // of both in their texts
	seen     []sighting
	pairs    []pair
}

// sighting is how often, and where last, a line stands in the gap under way.
type sighting struct{ old, new, oldAt, newAt int }

func (a *aligner) number(old, new [][]byte, offset int) {
	a.offset = offset
	numbers := make(map[string]int, len(old))
	of := func(lines [][]byte) []int {
		out := make([]int, len(lines))
		for i, line := range lines {
			n, ok := numbers[string(line)]
			if !ok {
				n = len(numbers)
				numbers[string(line)] = n
			}
			out[i] = n
		}
		return out
	}
	a.old, a.new = of(old), of(new)
	a.seen = make([]sighting, len(numbers))
}

// run pairs n lines from p on, in the places of the texts.
func (a *aligner) run(p pair, n int) {
	for i := range n {
		a.pairs = append(a.pairs, pair{p.old + i, p.new + i})
	}
}

// gap pairs the lines of b.
func (a *aligner) gap(b block, depth int) {
	const deepest = 32 // each level costs at most n log n; real texts need 3
	head := 0
	for b.old+head < b.oldEnd && b.new+head < b.newEnd && a.old[b.old+head] == a.new[b.new+head] {
		head++
	}
	a.run(pair{a.offset + b.old, a.offset + b.new}, head)
	b.old, b.new = b.old+head, b.new+head
	tail := 0
	for b.oldEnd-tail > b.old && b.newEnd-tail > b.new && a.old[b.oldEnd-1-tail] == a.new[b.newEnd-1-tail] {
		tail++
	}
	b.oldEnd, b.newEnd = b.oldEnd-tail, b.newEnd-tail
	if b.old < b.oldEnd && b.new < b.newEnd && depth < deepest {
		if anchors := a.anchors(b); len(anchors) > 0 {
			for _, p := range anchors {
				a.gap(block{b.old, p.old, b.new, p.new}, depth+1)
				a.run(pair{a.offset + p.old, a.offset + p.new}, 1)
				b.old, b.new = p.old+1, p.new+1
			}
			a.gap(b, depth+1)
		}
	}
	a.run(pair{a.offset + b.oldEnd, a.offset + b.newEnd}, tail)
}

// anchors are lines that stand once on each side of b, in order on both.
func (a *aligner) anchors(b block) []pair {
	for i := b.old; i < b.oldEnd; i++ {
		s := &a.seen[a.old[i]]
		s.old, s.oldAt = s.old+1, i
	}
	for i := b.new; i < b.newEnd; i++ {
		s := &a.seen[a.new[i]]
		s.new, s.newAt = s.new+1, i
	}
	var once []pair
	for i := b.old; i < b.oldEnd; i++ {
		if s := a.seen[a.old[i]]; s.old == 1 && s.new == 1 {
			once = append(once, pair{i, s.newAt})
		}
		a.seen[a.old[i]].old = 0
	}
	for i := b.new; i < b.newEnd; i++ {
		a.seen[a.new[i]].new = 0
	}
	return rising(once)
}

// rising is the longest part of pairs, which rise in old, that rises in new too. It may return pairs itself.
func rising(pairs []pair) []pair {
	if slices.IsSortedFunc(pairs, func(a, b pair) int { return a.new - b.new }) {
		return pairs
	}
	var ends []int // by length: the pair in which a run of that length ends soonest
	before := make([]int, len(pairs))
	for i, p := range pairs {
		n, _ := slices.BinarySearchFunc(ends, p.new, func(end, at int) int { return pairs[end].new - at })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	out := make([]pair, len(ends))
	at := ends[len(ends)-1]
	for n := len(out) - 1; n >= 0; n-- {
		out[n] = pairs[at]
		at = before[at]
	}
	return out
}
