package settings

import "github.com/confhaul/confhaul/pkg/fault"

// split gives the Errors that errors.Join put into err.
func split(err error) []*fault.InputError {
	if err == nil {
		return nil
	}
	if e, ok := err.(*fault.InputError); ok { //nolint:errorlint // this one itself, not one inside
		return []*fault.InputError{e}
	}
	var all []*fault.InputError
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the join itself
		for _, one := range joined.Unwrap() {
			all = append(all, split(one)...)
		}
	}
	return all
}
