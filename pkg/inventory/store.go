package inventory

import (
	"context"
	"io/fs"
	"os"
	"sync"

	"github.com/confhaul/confhaul/pkg/secret"
)

// CredentialStore is a credentials file that follows its changes. It is safe for concurrent use.
type CredentialStore struct {
	path string

	mu      sync.RWMutex
	seen    fs.FileInfo // the file that was last tried; nil: there was none
	current *Credentials
}

// NewCredentialStore reads the credentials file at path.
func NewCredentialStore(path string) (*CredentialStore, error) {
	s := &CredentialStore{path: path}
	if _, err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads the file anew where it changed since the last call, and says whether its content is now in force. After an
// error the old one stays; the error comes once, until the file changes again. It costs one stat where nothing changed.
func (s *CredentialStore) Reload() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, _ := os.Stat(s.path) // nil, err: LoadCredentials tells the reason
	if s.current != nil && sameFile(info, s.seen) {
		return false, nil
	}
	loaded, err := LoadCredentials(s.path)
	s.seen = info
	if err != nil {
		return false, err
	}
	s.current = loaded
	return true, nil
}

// Credential is Credentials.Credential of the content in force.
func (s *CredentialStore) Credential(ctx context.Context, name string) (secret.Credential, error) {
	return s.Current().Credential(ctx, name)
}

// Current is the content in force.
func (s *CredentialStore) Current() *Credentials {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}
