package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/confhaul/confhaul/pkg/fault"
)

// problems collects what is wrong with one file: the first problemsMax, and how many more.
type problems struct {
	file string
	list []*fault.InputError
	more int
}

func (p *problems) add(line int, field, format string, args ...any) {
	if len(p.list) == problemsMax {
		p.more++
		return
	}
	p.list = append(p.list, &fault.InputError{File: p.file, Line: line, Field: field, Err: fmt.Errorf(format, args...)})
}

func (p *problems) count() int { return len(p.list) + p.more }

// err joins the problems in the order of their lines; nil where there are none.
func (p *problems) err() error {
	slices.SortStableFunc(p.list, func(a, b *fault.InputError) int { return cmp.Compare(a.Line, b.Line) })
	errs := make([]error, 0, len(p.list)+1)
	for _, e := range p.list {
		errs = append(errs, e)
	}
	if p.more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", p.more))
	}
	return errors.Join(errs...)
}
