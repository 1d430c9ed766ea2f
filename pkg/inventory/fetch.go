package inventory

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Limits of the source of a secret.
const (
	CommandTimeout = 10 * time.Second
	ValueMax       = 64 << 10 // bytes
	pipeDelay      = time.Second
)

// Credential fetches the named credential from its source. It waits for a command at most CommandTimeout. Every error is
// fault.Infrastructure and holds nothing that the source gave.
func (c *Credentials) Credential(ctx context.Context, name string) (secret.Credential, error) {
	s, ok := c.byName[name]
	if !ok {
		return secret.Credential{}, fault.New(fault.Infrastructure, "fetch credential", "%q is not in %s", name, c.path)
	}
	value, err := s.fetch(ctx)
	if err != nil {
		return secret.Credential{}, fault.New(fault.Infrastructure, "fetch credential", "%s: %s: %w", name, s.field(), err)
	}
	cred := secret.Credential{Name: name, Username: s.username, Hide: s.hide}
	if s.key {
		cred.PrivateKey = value
	} else {
		cred.Password = value
	}
	cred.Version = c.version(cred)
	return cred, nil
}

// version is <key id>.<digest>. It changes when the name, the user or the value does; versions of two keys do not compare,
// and the id tells the keys apart without telling them.
func (c *Credentials) version(cred secret.Credential) string {
	mac := hmac.New(sha256.New, []byte(c.versionKey.Reveal()))
	keyID := hex.EncodeToString(mac.Sum([]byte(nil))[:4])
	for _, part := range []string{cred.Name, cred.Username, cred.Password.Reveal(), cred.PrivateKey.Reveal()} {
		var length [8]byte // keeps "ab"+"c" and "a"+"bc" apart
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = mac.Write(length[:]) // a hash takes everything
		_, _ = mac.Write([]byte(part))
	}
	return keyID + "." + hex.EncodeToString(mac.Sum(nil)[:16])
}

func (s source) fetch(ctx context.Context) (secret.Text, error) {
	if s.way == wayInline {
		return s.inline, nil
	}
	var b []byte
	var err error
	switch s.way {
	case wayFile:
		b, err = secret.ReadFile(s.from, ValueMax)
	case wayEnv:
		value, set := os.LookupEnv(s.from)
		if !set {
			err = fmt.Errorf("the environment has no %s", s.from)
		}
		b = []byte(value)
	case wayCommand:
		b, err = fetchCommand(ctx, s.argv)
	}
	if err != nil {
		return secret.Text{}, err
	}
	value := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > ValueMax:
		return secret.Text{}, fmt.Errorf("the value is over %d bytes", ValueMax)
	case value == "":
		return secret.Text{}, errors.New("the value is empty")
	}
	return secret.New(value), nil
}

var errCommandTimeout = fmt.Errorf("no answer within %v", CommandTimeout)

// fetchCommand runs argv without a shell. What it prints, on either output, goes into no error.
func fetchCommand(ctx context.Context, argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, CommandTimeout, errCommandTimeout)
	defer cancel()
	out := &capped{}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout = out
	cmd.WaitDelay = pipeDelay // a grandchild may hold the pipe open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run %s: %w", argv[0], context.Cause(ctx))
	case out.over:
		return nil, fmt.Errorf("run %s: it prints over %d bytes", argv[0], ValueMax)
	case err != nil:
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return out.buf.Bytes(), nil
}

// capped keeps at most ValueMax bytes and refuses more, which ends the command.
type capped struct {
	buf  bytes.Buffer
	over bool
}

func (c *capped) Write(b []byte) (int, error) {
	if c.buf.Len()+len(b) > ValueMax {
		c.over = true
		return 0, io.ErrShortWrite
	}
	return c.buf.Write(b)
}
