// Package fault says what went wrong with one backup, in the few kinds that decide what happens next.
//
// An error gets its Kind where it is first seen; everything above wraps it with %w and never changes it.
package fault

import (
	"errors"
	"fmt"
)

// Kind is the class of a failure. The kinds and what follows each stand in one table, in backup.Ladder.Next.
type Kind string

// The kinds, from the router's side to ours.
const (
	Auth           Kind = "auth"           // the router refused the login
	HostKey        Kind = "hostkey"        // the router's host key is not the one on record
	Unreachable    Kind = "unreachable"    // refused, no route, name not resolved, connection lost before the export
	Timeout        Kind = "timeout"        // a named deadline passed
	Incomplete     Kind = "incomplete"     // the export is cut, interrupted or lacks a menu
	Rejected       Kind = "rejected"       // the router answered with an error text instead of an export
	Negotiation    Kind = "negotiation"    // no common SSH algorithm
	Permission     Kind = "permission"     // the router's user lacks a policy
	TooLarge       Kind = "toolarge"       // the export is over the cap
	Infrastructure Kind = "infrastructure" // NATS, Redis, the state store or the source of a secret
	Internal       Kind = "internal"       // our own mistake, or an error nobody classified
)

// Kinds lists every kind, in the order of the constants, for labels and filters.
func Kinds() []Kind {
	return []Kind{Auth, HostKey, Unreachable, Timeout, Incomplete, Rejected, Negotiation, Permission, TooLarge, Infrastructure, Internal}
}

// Error is a failure with its kind and the step at which it happened.
type Error struct {
	Kind Kind
	Step string // the operation, as in "dial" or "login"; the text starts with it
	Err  error  // what happened and, where the operator can act, what to do
}

// New makes an Error; format takes %w.
func New(kind Kind, step, format string, args ...any) *Error {
	return &Error{Kind: kind, Step: step, Err: fmt.Errorf(format, args...)}
}

// Error is "step: cause".
func (e *Error) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost Error in err's chain, Internal where nobody classified it, and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
