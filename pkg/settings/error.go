package settings

import (
	"strconv"
	"strings"
	"unicode"
)

// Error is one thing wrong with one setting. What is not known is empty or 0 and not printed.
type Error struct {
	File  string
	Line  int    // from 1
	Field string // as in timeouts.dial, or the environment variable
	Err   error
}

// Error is "file:line: field: what is wrong", in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
		}
		b.WriteString(": ")
	}
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

// split gives the Errors that errors.Join put into err.
func split(err error) []*Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok { //nolint:errorlint // this one itself, not one inside
		return []*Error{e}
	}
	var all []*Error
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the join itself
		for _, one := range joined.Unwrap() {
			all = append(all, split(one)...)
		}
	}
	return all
}
