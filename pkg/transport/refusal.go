package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// Refusal is a connection that will not come about before somebody changes something: waiting for it is of no use.
type Refusal struct {
	Why string // in plain words, with what to do
	Err error
}

func (r *Refusal) Error() string { return r.Why + ": " + r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Refused says whether err is, or wraps, a Refusal.
func Refused(err error) bool {
	_, ok := errors.AsType[*Refusal](err)
	return ok
}

// Explain makes a Refusal of the errors of TLS that somebody must do something about. setting is the name of the TLS files in
// the settings.
func Explain(setting string, err error) error {
	if err == nil || Refused(err) {
		return err
	}
	if why := explain(setting, err); why != "" {
		return &Refusal{Why: why, Err: err}
	}
	return err
}

func explain(setting string, err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the server's certificate is of a CA that is not trusted here: name its CA in " + setting + ".ca"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "the server's certificate has expired or is not valid yet: renew it there, and look at both clocks"
		}
		return "the server's certificate is not good for this"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the server's certificate is for another name: connect to a name that it has, or have one made with this one"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server speaks no TLS on this port: use its TLS port, or the address without TLS"
	}
	return explainAlert(setting, err.Error())
}

// explainAlert knows what the other side said by its words: crypto/tls has no name for an alert that was received.
func explainAlert(setting, text string) string {
	_, alert, found := strings.Cut(text, "remote error: tls: ")
	if !found {
		return ""
	}
	for word, why := range map[string]string{
		"certificate required":           "the server wants a client certificate: name one in " + setting + ".cert and " + setting + ".key",
		"unknown certificate authority":  "the server does not trust the CA of our client certificate: see " + setting + ".cert",
		"bad certificate":                "the server does not take our client certificate, or wants one: see " + setting + ".cert and " + setting + ".key",
		"expired certificate":            "our client certificate has expired: renew " + setting + ".cert",
		"revoked certificate":            "our client certificate was revoked: renew " + setting + ".cert",
		"unsupported certificate":        "our client certificate is not made for clients: see " + setting + ".cert",
		"protocol version not supported": "the server speaks no TLS 1.2 or newer",
		"handshake failure":              "the server agrees to no TLS with us: it may want a client certificate (" + setting + ".cert), or other ciphers",
	} {
		if strings.HasPrefix(alert, word) {
			return why
		}
	}
	return ""
}
