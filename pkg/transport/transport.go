// Package transport reads what a connection to Redis or NATS is made with, certificates, keys and passwords, from their files
// whenever one is made, and says in plain words why a connection was refused.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/confhaul/confhaul/pkg/secret"
)

// fileMax is more than a password, a key or a file of creds has, in bytes.
const fileMax = 1 << 20

// TLS are the paths of the files of a TLS connection; "" is none. Without CA the system's are trusted; Cert and Key are what
// a server asks for that knows its clients by certificate.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Config reads the files. The server's name is always verified: the caller sets it for each connection.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := readFile(t.CA)
		if err != nil {
			return nil, &Refusal{Why: "the CA is not readable", Err: err}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &Refusal{Why: "no CA to trust", Err: fmt.Errorf("%s holds no certificate in PEM", t.CA)}
		}
	}
	if t.Cert == "" {
		return c, nil
	}
	cert, err := readFile(t.Cert)
	if err != nil {
		return nil, &Refusal{Why: "the client certificate is not readable", Err: err}
	}
	key, err := secret.ReadFile(t.Key, fileMax)
	if err != nil {
		return nil, &Refusal{Why: "the key of the client certificate is not readable", Err: err}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &Refusal{Why: "client certificate and key do not go together", Err: fmt.Errorf("%s and %s: %w", t.Cert, t.Key, err)}
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// ReadSecret reads a secret from a file that nobody else can read. Line ends behind it are no part of it.
func ReadSecret(path string) (secret.Text, error) {
	b, err := secret.ReadFile(path, fileMax)
	if err != nil {
		return secret.Text{}, &Refusal{Why: "the secret is not readable", Err: err}
	}
	text := secret.New(strings.TrimRight(string(b), "\r\n"))
	if text.Empty() {
		return secret.Text{}, &Refusal{Why: "no secret", Err: fmt.Errorf("%s is empty", path)}
	}
	return text, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe could wait for ever
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.ReadFile(path)
}
