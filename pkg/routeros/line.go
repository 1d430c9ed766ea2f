package routeros

import "bytes"

const blanks = " \t"

// reader takes a text apart into its physical lines and knows which of them belong together.
type reader struct {
	rest []byte

	text   []byte // without its line end
	start  int    // offset of text
	number int    // from 1
	joined bool   // goes on where the line before broke off
	open   bool   // breaks off with a backslash
	ended  bool   // has a line end

	offset  int
	comment bool // the logical line is one
}

// next moves to the next physical line and says whether there is one.
func (r *reader) next() bool {
	if len(r.rest) == 0 {
		return false
	}
	r.start, r.joined = r.offset, r.open
	r.number++
	end := bytes.IndexByte(r.rest, '\n')
	if r.ended = end >= 0; r.ended {
		r.text, r.rest = r.rest[:end], r.rest[end+1:]
		r.offset += end + 1
	} else {
		r.text, r.rest = r.rest, nil
		r.offset += len(r.text)
	}
	for len(r.text) > 0 && r.text[len(r.text)-1] == '\r' {
		r.text = r.text[:len(r.text)-1]
	}
	if !r.joined {
		r.comment = len(r.text) > 0 && r.text[0] == '#'
	}
	r.open = oddBackslashes(r.text)
	if r.comment && !indented(r.rest) {
		// A comment may quote a name that ends in a backslash; taking the next line for a part of it would lose that line.
		r.open = false
	}
	return true
}

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
