package routeros

import "bytes"

const blanks = " \t"

// reader takes a text apart into its physical lines and knows which of them belong together.
type reader struct {
	all []byte
	at  int // where the next line starts

	text   []byte // without its line end
	number int    // from 1
	joined bool   // goes on where the line before broke off
	open   bool   // breaks off with a backslash
	ended  bool   // has a line end

	comment bool // the logical line is one
}

// next moves to the next physical line and says whether there is one.
func (r *reader) next() bool {
	rest := r.all[r.at:]
	if len(rest) == 0 {
		return false
	}
	r.number++
	r.joined = r.open
	end := bytes.IndexByte(rest, '\n')
	r.ended = end >= 0
	if r.ended {
		r.at += end + 1
	} else {
		end = len(rest)
		r.at = len(r.all)
	}
	for end > 0 && rest[end-1] == '\r' {
		end--
	}
	r.text = rest[:end]
	if !r.joined {
		r.comment = end > 0 && rest[0] == '#'
	}
	r.open = oddBackslashes(r.text)
	if r.comment && !indented(r.all[r.at:]) {
		// A comment may quote a name that ends in a backslash; taking the next line for a part of it would lose that line.
		r.open = false
	}
	return true
}

// usual says whether the line is what most are, and no offence below a menu: where a command begins, or an indented part of one.
func (r *reader) usual() bool {
	if r.joined {
		return indented(r.text)
	}
	return addOrSet(r.text)
}

// normal says whether a usual line is its own normal form.
func (r *reader) normal() bool { return !r.joined && !r.open && !blank(r.text[len(r.text)-1]) }

// appendTo appends the line to out as a part of its logical line, without what the wrap put there.
func (r *reader) appendTo(out []byte) []byte {
	part := r.text
	if r.open {
		part = part[:len(part)-1]
	}
	if r.joined {
		part = trimLeft(part)
		if len(part) > 1 && part[0] == '\\' && part[1] == '_' {
			out = append(out, ' ')
			part = part[2:]
		}
	}
	return append(out, part...)
}

// oddBackslashes says whether line ends in a backslash that is not itself escaped.
func oddBackslashes(line []byte) bool {
	n := 0
	for n < len(line) && line[len(line)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

func indented(line []byte) bool { return len(line) > 0 && blank(line[0]) }
