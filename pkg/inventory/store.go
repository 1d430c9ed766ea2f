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

	reloading sync.Mutex
	seen      fs.FileInfo            // the file that was last tried; nil: there was none
	values    map[string]fs.FileInfo // the files that current names, as they were

	mu      sync.RWMutex
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

// Reload reads the file anew where it changed since the last call, and says whether something else is now in force: the
// file's content, or that of a file that it names. After an error the old one stays; the error comes once, until the file
// changes again. Where nothing changed it costs one stat for each file.
func (s *CredentialStore) Reload() (changed bool, err error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	info, _ := os.Stat(s.path) // nil, err: LoadCredentials tells the reason
	current := s.Current()
	if current != nil && secret.SameFile(info, s.seen) {
		return s.look(current), nil
	}
	loaded, err := LoadCredentials(s.path)
	s.seen = info
	if err != nil {
		return false, err
	}
	s.look(loaded)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = loaded
	return true, nil
}

// look remembers the files that c names as they are now, and says whether one changed since the last look. The values
// are fetched whenever they are used: nothing else is to be done.
func (s *CredentialStore) look(c *Credentials) (changed bool) {
	now := map[string]fs.FileInfo{}
	for _, path := range c.files() {
		info, _ := os.Stat(path) // nil where there is none: whoever fetches it tells the reason
		now[path] = info
		before, known := s.values[path]
		changed = changed || known && !secret.SameFile(info, before)
	}
	s.values = now
	return changed
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
