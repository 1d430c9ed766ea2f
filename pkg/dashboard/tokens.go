package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Limits of a token file.
const (
	tokenFileMax = 1 << 20 // bytes
	tokensMax    = 1000
)

// tokenPrefix lets people, and programs that look for leaked secrets, see what a token is for.
const tokenPrefix = "confhaul_"

// digest is the sha256 of a token. A token has 256 random bits, so that there is nothing to guess from it.
type digest [sha256.Size]byte

func sumOf(token secret.Text) digest { return sha256.Sum256([]byte(token.Reveal())) }

// NewToken makes a token, and what a token file holds in its place.
func NewToken() (token secret.Text, sum string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	token = secret.New(tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:]))
	d := sumOf(token)
	return token, hex.EncodeToString(d[:])
}

// owner is whose a token is.
type owner struct {
	name   string
	role   Role
	digest digest
}

// Tokens is a token file that follows its changes: who may log in, and as what. It is safe for concurrent use.
type Tokens struct {
	path string

	mu     sync.RWMutex
	seen   fs.FileInfo // the file that was last tried; nil: there was none
	owners []owner     // nil: none was ever read
}

// OpenTokens reads the token file at path. The error joins one fault.InputError per problem.
func OpenTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path}
	_, err := t.reload()
	return t, err
}

// Len is the number of tokens in force.
func (t *Tokens) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.owners)
}

// reload reads the file anew where it changed since the last call, and says whether its content is now in force. After an
// error the old one stays; the error comes once, until the file changes again.
func (t *Tokens) reload() (changed bool, err error) {
	info, _ := os.Stat(t.path) // nil: readTokens tells the reason
	t.mu.RLock()
	same := t.owners != nil && secret.SameFile(info, t.seen)
	t.mu.RUnlock()
	if same {
		return false, nil
	}
	owners, err := readTokens(t.path)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = info
	if err != nil {
		return false, err
	}
	t.owners = owners
	return true, nil
}

// find is the owner of the token with a digest. How long it takes does not tell how much of the digest is right.
func (t *Tokens) find(d digest) (found owner, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, o := range t.owners {
		if subtle.ConstantTimeCompare(o.digest[:], d[:]) == 1 {
			found, ok = o, true
		}
	}
	return found, ok
}

// readTokens takes the whole file. One that others can use is refused: whoever can write it is an operator.
func readTokens(path string) ([]owner, error) {
	b, err := secret.ReadFile(path, tokenFileMax)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err // the InputError says the path already
	}
	if err != nil {
		return nil, &fault.InputError{File: path, Err: fmt.Errorf("read tokens: %w", err)}
	}
	return parseTokens(path, b)
}
