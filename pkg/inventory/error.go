package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Error is one thing wrong with a file. What is not known is empty or 0 and not printed.
type Error struct {
	File  string
	Line  int // from 1
	Field string
	Err   error
}

// Error is "file:line: field: what is wrong", in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line))
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(oneLine(e.Field) + ": ")
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// oneLine quotes a misspelt key that would break the line.
func oneLine(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(key)
	}
	return key
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// problems collects what is wrong with one file: the first problemsMax, and how many more.
type problems struct {
	file string
	list []*Error
	more int
}

func (p *problems) add(line int, field, format string, args ...any) {
	if len(p.list) == problemsMax {
		p.more++
		return
	}
	p.list = append(p.list, &Error{File: p.file, Line: line, Field: field, Err: fmt.Errorf(format, args...)})
}

func (p *problems) count() int { return len(p.list) + p.more }

// err joins the problems in the order of their lines; nil where there are none.
func (p *problems) err() error {
	slices.SortStableFunc(p.list, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, 0, len(p.list)+1)
	for _, e := range p.list {
		errs = append(errs, e)
	}
	if p.more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", p.more))
	}
	return errors.Join(errs...)
}
