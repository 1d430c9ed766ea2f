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
	info, err := os.Stat(c.key)
	if err == nil {
		err = secret.CheckPrivate(c.key, info)
	}
	if err != nil {
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err // the InputError says the path already
		}
		return nil, &fault.InputError{File: c.key, Err: fmt.Errorf("read key: %w", err)}
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, &fault.InputError{File: c.cert, Err: fmt.Errorf("read certificate and its key: %w", err)}
	}
	return &pair, nil
}

// get is the certificate in force. One that cannot be read leaves the old in force: between the two files of a new pair
// somebody may knock.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.look()
	if sameFile(seen[0], c.seen[0]) && sameFile(seen[1], c.seen[1]) {
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

// sameFile says whether nothing suggests that the file was written or replaced; nil is no file.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}
