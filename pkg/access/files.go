package access

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

// Names of the files that are made for the servers.
const (
	RedisFile = "redis.acl"
	NATSFile  = "nats.conf"
)

const (
	secretMode = 0o600
	serverMode = 0o644 // Redis and NATS run as users of their own, and these files hold no secret
)

// PasswordFile is the file with a user's password in Redis, in the directory of Write.
func PasswordFile(name string) string { return "redis-" + name + ".password" }

// SeedFile is the file with the seed of a user's nkey in NATS.
func SeedFile(name string) string { return "nats-" + name + ".nk" }

// Write makes the secrets of the users that have none in dir yet, each in a file that its owner alone can read, and writes the
// files of the servers anew. What is there stays: a new site changes nothing for the others.
func Write(dir string, users []User, inbox func(publicKey string) string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l := Logins{Passwords: map[string]secret.Text{}, Nkeys: map[string]string{}}
	for _, u := range users {
		password, err := keep(filepath.Join(dir, PasswordFile(u.Name)), func() (string, error) { return rand.Text() + rand.Text(), nil })
		if err != nil {
			return err
		}
		l.Passwords[u.Name] = password
		if u.NATS.None() {
			continue
		}
		path := filepath.Join(dir, SeedFile(u.Name))
		seed, err := keep(path, newSeed)
		if err != nil {
			return err
		}
		if l.Nkeys[u.Name], err = publicKey(seed); err != nil {
			return fmt.Errorf("%s: no seed of a user's nkey: %w", path, err)
		}
	}
	return errors.Join(
		replace(filepath.Join(dir, RedisFile), Redis(users, l), serverMode),
		replace(filepath.Join(dir, NATSFile), NATS(users, l, inbox), serverMode))
}

// keep reads a secret, and makes it where there is none.
func keep(path string, create func() (string, error)) (secret.Text, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return transport.ReadSecret(path)
	}
	text, err := create()
	if err == nil {
		err = replace(path, text+"\n", secretMode)
	}
	return secret.New(text), err
}

// replace writes a file whole or not at all.
func replace(path, text string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func newSeed() (string, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	return string(seed), err
}

func publicKey(seed secret.Text) (string, error) {
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}
