package cli

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// searcher finds the lines of a text that an expression fits. Most expressions have a part that every line must hold as it
// stands: it is looked for first, which is many times faster than the expression itself.
type searcher struct {
	re   *regexp.Regexp
	must []byte // empty: there is no such part
	fold bool   // either case will do; must is lower-case ASCII then
}

func newSearcher(expression string) (*searcher, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("search: %w (RE2: no look-around and no back-references; \\Q...\\E takes what it holds as it stands)", err)
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	must, fold := literal(tree)
	return &searcher{re, []byte(must), fold}, nil
}

// literal is the longest text that whatever an expression fits must hold, in either case where fold is set; "" where none is
// sure.
func literal(re *syntax.Regexp) (text string, fold bool) {
	switch re.Op {
	case syntax.OpLiteral:
		text, fold = string(re.Rune), re.Flags&syntax.FoldCase != 0
		switch {
		case strings.ContainsRune(text, utf8.RuneError): // which fits any broken byte
			return "", false
		case fold && len(text) != len(re.Rune): // not ASCII
			return "", false
		case fold:
			return strings.ToLower(text), true
		}
	case syntax.OpCapture, syntax.OpPlus:
		return literal(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return literal(re.Sub[0])
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if s, f := literal(sub); len(s) > len(text) {
				text, fold = s, f
			}
		}
	}
	return text, fold
}

// match says whether any line fits.
func (s *searcher) match(text []byte) bool {
	for line := range s.candidates(text) {
		if s.re.Match(line) {
			return true
		}
	}
	return false
}

// lines gives fn the lines that fit, with their numbers from 1 and where the first fit is.
func (s *searcher) lines(text []byte, fn func(n int, line []byte, from, to int) error) error {
	n, counted := 1, 0
	for line, start := range s.candidates(text) {
		at := s.re.FindIndex(line)
		if at == nil {
			continue
		}
		n += bytes.Count(text[counted:start], []byte("\n"))
		counted = start
		if err := fn(n, line, at[0], at[1]); err != nil {
			return err
		}
	}
	return nil
}

// candidates are the lines that may fit, without their line ends, and where they start.
func (s *searcher) candidates(text []byte) func(yield func([]byte, int) bool) {
	must, hay := s.must, text
	if s.fold {
		if hay = lower(text); hay == nil {
			must = nil
		}
	}
	return func(yield func([]byte, int) bool) {
		for start := 0; start < len(text); {
			if len(must) > 0 {
				i := bytes.Index(hay[start:], must)
				if i < 0 {
					return
				}
				start += bytes.LastIndexByte(text[start:start+i], '\n') + 1
			}
			end := len(text)
			if i := bytes.IndexByte(text[start:], '\n'); i >= 0 {
				end = start + i
			}
			if !yield(text[start:end], start) {
				return
			}
			start = end + 1
		}
	}
}

// lower is text with its ASCII letters in lower case; nil where it has one of the two other letters, the long s and the Kelvin
// sign, that RE2 takes for the other case of an ASCII one.
func lower(text []byte) []byte {
	if bytes.Contains(text, []byte("\u017f")) || bytes.Contains(text, []byte("\u212a")) {
		return nil
	}
	out := make([]byte, len(text))
	for i, c := range text {
		if c-'A' <= 'Z'-'A' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return out
}
