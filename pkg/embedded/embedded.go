// Package embedded runs Redis and NATS in or beside this process, on loopback and behind a token, and keeps the data
// directory that they live in to one process.
package embedded

import (
	"crypto/rand"
	"errors"
	"log/slog"

	"github.com/confhaul/confhaul/pkg/secret"
)

const loopback = "127.0.0.1"

// dirMode and fileMode keep what is stored (exports with their secrets) and the tokens to the user who started us.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// NewToken makes a random token of at least 128 bits, of A-Z and 2-7.
func NewToken() secret.Text { return secret.New(rand.Text()) }

// errNoToken: an open server on loopback is open to every user of the machine.
var errNoToken = errors.New("a token is needed")

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
