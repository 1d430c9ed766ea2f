// Package secret holds values that must never be printed: in any verb, log record or encoding they read <redacted>.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"unique"
)

const redacted = "<redacted>"

// Text is a secret string. The zero value is an empty secret. Only Reveal gives the value.
type Text struct{ value hidden }

// hidden keeps a string where fmt does not follow it: in a field that is not exported fmt asks no method how to print, and
// prints what stands there. Equal strings are equal.
type hidden struct{ handle unique.Handle[string] }

func hide(value string) hidden {
	if value == "" {
		return hidden{}
	}
	return hidden{unique.Make(value)}
}

func (h hidden) reveal() string {
	if h == (hidden{}) {
		return ""
	}
	return h.handle.Value()
}

// New wraps a value.
func New(value string) Text { return Text{hide(value)} }

// Reveal returns the value. Call it only where the value is used, never where it could be kept or printed.
func (t Text) Reveal() string { return t.value.reveal() }

// Empty says whether there is no secret.
func (t Text) Empty() bool { return t == Text{} }

// Format prints <redacted> for every verb and flag.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String is <redacted>.
func (t Text) String() string { return redacted }

// LogValue is <redacted>.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is <redacted>; it covers JSON, YAML keys and every encoder that asks for text.
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalYAML is <redacted>.
func (t Text) MarshalYAML() (any, error) { return redacted, nil }

// UnmarshalText takes the value, so that a settings file can hold one.
func (t *Text) UnmarshalText(b []byte) error {
	t.value = hide(string(b))
	return nil
}

// URL is the address of a server that may carry a user and password; it prints without them.
type URL struct{ value hidden }

// NewURL wraps an address such as redis://user:password@host:6379/0.
func NewURL(value string) URL { return URL{hide(value)} }

// Reveal returns the address with user and password.
func (u URL) Reveal() string { return u.value.reveal() }

// String is the address, or the several with commas between them, without user and password.
func (u URL) String() string {
	if u.IsSentinel() {
		if s, err := u.Sentinel(); err == nil {
			return s.String()
		}
		return redacted
	}
	parts := strings.Split(u.Reveal(), ",")
	for i, part := range parts {
		parts[i] = withoutUser(part)
	}
	return strings.Join(parts, ",")
}

func withoutUser(address string) string {
	p, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil, p.Opaque != "", p.Host == "" && strings.Contains(address, "@"):
		return redacted
	}
	p.User, p.RawQuery, p.Fragment = nil, "", ""
	return p.String()
}

// IsTLS says whether each of the addresses has a scheme that stands for TLS.
func (u URL) IsTLS() bool {
	for part := range strings.SplitSeq(u.Reveal(), ",") {
		one := NewURL(strings.TrimSpace(part))
		switch {
		case u.IsSentinel(): // one scheme before several hosts
			return u.hasScheme(SentinelTLSScheme)
		case !one.hasScheme("rediss") && !one.hasScheme("tls") && !one.hasScheme("wss"):
			return false
		}
	}
	return true
}

// Login is the user of the address, of the first one where there are several, and whether it has a password.
func (u URL) Login() (user string, hasPassword bool) {
	if u.IsSentinel() {
		s, _ := u.Sentinel() // one that cannot be read has no user either
		return s.User, !s.Password.Empty()
	}
	first, _, _ := strings.Cut(u.Reveal(), ",")
	p, err := url.Parse(strings.TrimSpace(first))
	if err != nil || p.User == nil {
		return "", false
	}
	password, _ := p.User.Password()
	return p.User.Username(), password != ""
}

// Format prints the address without user and password for every verb.
func (u URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue is the address without user and password.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText is the address without user and password.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// MarshalYAML is the address without user and password.
func (u URL) MarshalYAML() (any, error) { return u.String(), nil }

// UnmarshalText takes the address.
func (u *URL) UnmarshalText(b []byte) error {
	u.value = hide(string(b))
	return nil
}
