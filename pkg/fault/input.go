package fault

import (
	"strconv"
	"strings"
	"unicode"
)

// InputError is one thing wrong with what an operator wrote. What is not known is empty or 0 and not printed.
type InputError struct {
	File  string
	Line  int    // from 1
	Field string // as in timeouts.dial, a column, or an environment variable
	Err   error
}

// Error is "file:line: field: what is wrong", in one line.
func (e *InputError) Error() string {
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

// Unwrap returns what is wrong.
func (e *InputError) Unwrap() error { return e.Err }

// oneLine quotes a misspelt key that would break the line.
func oneLine(key string) string {
	if strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(key)
	}
	return key
}
