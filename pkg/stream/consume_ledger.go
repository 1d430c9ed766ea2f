package stream

import (
	"maps"
	"slices"
)

// How many taken snapshots of a subject stay on the stream for other consumers, who may be late. The last one must stay in
// any case: a worker publishes the next one with its sequence.
const (
	keepUsual = 3
	keepHigh  = 1 // while the stream is nearly full
)

// entry is a message that was taken and is still on the stream, as far as is known.
type entry struct {
	subject string
	seq     uint64
	object  string // that it names; "" for one with its text inside
}

// ledger knows the taken messages of each subject, and no other: what is removed by it was taken, in whatever order the
// messages came.
type ledger struct {
	bySubject map[string][]entry  // by sequence
	full      map[string]struct{} // subjects with more than keepUsual
}

func newLedger() *ledger {
	return &ledger{bySubject: map[string][]entry{}, full: map[string]struct{}{}}
}

func bySeq(e entry, seq uint64) int {
	switch {
	case e.seq < seq:
		return -1
	case e.seq > seq:
		return 1
	}
	return 0
}

func (l *ledger) add(e entry) {
	all := l.bySubject[e.subject]
	i, known := slices.BinarySearchFunc(all, e.seq, bySeq)
	if !known {
		all = slices.Insert(all, i, e)
		l.put(e.subject, all)
	}
}

func (l *ledger) remove(e entry) {
	all := l.bySubject[e.subject]
	if i, known := slices.BinarySearchFunc(all, e.seq, bySeq); known {
		l.put(e.subject, slices.Delete(all, i, i+1))
	}
}

func (l *ledger) put(subject string, all []entry) {
	l.bySubject[subject] = all
	if len(all) > keepUsual {
		l.full[subject] = struct{}{}
	} else {
		delete(l.full, subject)
	}
}

// surplus lists up to limit messages that are older than the newest keep of their subject.
func (l *ledger) surplus(keep, limit int) (out []entry) {
	collect := func(subject string) bool {
		all := l.bySubject[subject]
		for _, e := range all[:max(len(all)-keep, 0)] {
			if len(out) == limit {
				return false
			}
			out = append(out, e)
		}
		return true
	}
	subjects := maps.Keys(l.full)
	if keep < keepUsual {
		subjects = maps.Keys(l.bySubject)
	}
	for subject := range subjects {
		if !collect(subject) {
			break
		}
	}
	return out
}

// names says whether a message that stays names the object.
func (l *ledger) names(subject, object string) bool {
	return slices.ContainsFunc(l.bySubject[subject], func(e entry) bool { return e.object == object })
}
