package telemetry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// keyMax is more than any key has, in bytes.
const keyMax = 64 << 10

// Certificate is a certificate with its key, in two files that are read anew when they change. It is safe for concurrent use.
type Certificate struct {
	cert, key string // paths
	log       *slog.Logger

	mu      sync.Mutex
	seen    [2]fs.FileInfo // the files that were last tried; nil: there was none
	current *tls.Certificate
}

// OpenCertificate reads a certificate, with those that lead to its root behind it, and its key, which others must not be
// able to use; both in PEM.
func OpenCertificate(cert, key string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log}
	c.seen = c.look()
	var err error
	c.current, err = c.read()
	return c, err
}

func (c *Certificate) look() (infos [2]fs.FileInfo) {
	for i, path := range []string{c.cert, c.key} {
		if info, err := os.Stat(path); err == nil {
			infos[i] = info
		}
	}
	return infos
}

func (c *Certificate) read() (*tls.Certificate, error) {
	fail := func(path, step string, err error) (*tls.Certificate, error) {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err // the InputError says the path already
		}
		return nil, &fault.InputError{File: path, Err: fmt.Errorf("%s: %w", step, err)}
	}
	key, err := secret.ReadFile(c.key, keyMax)
	if err != nil {
		return fail(c.key, "read key", err)
	}
	if info, err := os.Stat(c.cert); err == nil && !info.Mode().IsRegular() { // reading a pipe could wait for ever
		return fail(c.cert, "read certificate", errors.New("not a regular file"))
	}
	cert, err := os.ReadFile(c.cert)
	if err != nil {
		return fail(c.cert, "read certificate", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fail(c.cert, "read certificate and its key", err)
	}
	return &pair, nil
}

// get is the certificate in force. One that cannot be read leaves the old in force: between the two files of a new pair
// somebody may knock.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.look()
	if secret.SameFile(seen[0], c.seen[0]) && secret.SameFile(seen[1], c.seen[1]) {
		return c.current, nil
	}
	c.seen = seen
	pair, err := c.read()
	if err != nil {
		c.log.Error("certificate not reloaded: the old one stays in force", "err", err)
		return c.current, nil
	}
	c.log.Info("certificate reloaded", "file", c.cert)
	c.current = pair
	return pair, nil
}
