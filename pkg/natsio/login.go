package natsio

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

// tlsSetting is what errors call the TLS files.
const tlsSetting = "nats_tls"

// InboxPrefix is where answers to the user of an nkey arrive. It is the user's own, so that no other user need be allowed to
// listen there.
func InboxPrefix(publicKey string) string { return "_INBOX_" + publicKey }

// login is how a connection is made safe, and whose it is.
type login struct {
	addresses string
	options   []nats.Option
}

// login reads the files once, so that what is wrong with them is told at once.
func (c *Conn) login(o Options) (login, error) {
	l := login{addresses: o.URL.Reveal()}
	if o.URL.IsTLS() {
		config, err := o.TLS.Config()
		if err != nil {
			return l, err
		}
		l.options = append(l.options, c.secure(o.TLS, len(config.Certificates) > 0))
	}
	switch {
	case o.PasswordFile != "":
		user, _ := o.URL.Login()
		if _, err := transport.ReadSecret(o.PasswordFile); err != nil {
			return l, err
		}
		l.addresses = withoutUser(l.addresses) // nats.go takes a user without a password for a token
		l.options = append(l.options, nats.UserInfoHandler(func() (string, string) { return user, c.read(o.PasswordFile).Reveal() }))
	case o.CredsFile != "":
		if _, err := transport.ReadSecret(o.CredsFile); err != nil {
			return l, err
		}
		l.options = append(l.options, nats.UserJWT(
			func() (string, error) { return nkeys.ParseDecoratedJWT([]byte(c.read(o.CredsFile).Reveal())) },
			func(nonce []byte) ([]byte, error) {
				return sign(c.read(o.CredsFile), nkeys.ParseDecoratedNKey, "", nonce)
			}))
	case o.NkeyFile != "":
		public, err := publicKey(o.NkeyFile)
		if err != nil {
			return l, err
		}
		l.options = append(l.options, nats.CustomInboxPrefix(InboxPrefix(public)),
			nats.Nkey(public, func(nonce []byte) ([]byte, error) {
				return sign(c.read(o.NkeyFile), nkeys.FromSeed, public, nonce)
			}))
	}
	return l, nil
}

// secure has the files read for each connection.
func (c *Conn) secure(files transport.TLS, certificate bool) nats.Option {
	return func(o *nats.Options) error {
		o.Secure, o.TLSConfig = true, &tls.Config{MinVersion: tls.VersionTLS12}
		if certificate {
			o.TLSCertCB = func() (tls.Certificate, error) {
				config, err := files.Config()
				if err != nil {
					return tls.Certificate{}, err
				}
				return config.Certificates[0], nil
			}
		}
		o.RootCAsCB = func() (*x509.CertPool, error) {
			config, err := files.Config()
			if err != nil {
				return nil, err
			}
			return config.RootCAs, nil
		}
		return nil
	}
}

// read reads a file for a login. nats.go does not hear of its errors everywhere: explain puts them in place of what the server
// says to a login without a secret.
func (c *Conn) read(path string) secret.Text {
	text, err := transport.ReadSecret(path)
	if err != nil {
		c.unread.Store(&err)
	} else {
		c.unread.Store(nil)
	}
	return text
}

func publicKey(path string) (string, error) {
	seed, err := transport.ReadSecret(path)
	if err != nil {
		return "", err
	}
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err == nil {
		defer pair.Wipe()
		var public string
		if public, err = pair.PublicKey(); err == nil && nkeys.IsValidPublicUserKey(public) {
			return public, nil
		}
	}
	return "", &transport.Refusal{Why: "no nkey", Err: fmt.Errorf("%s holds no seed of a user (SU...)", path)}
}

var errOtherNkey = errors.New("the file of the nkey holds another one now: start this process anew")

// sign signs with a seed, which must be that of a public key where one is given.
func sign(seed secret.Text, parse func([]byte) (nkeys.KeyPair, error), public string, nonce []byte) ([]byte, error) {
	pair, err := parse([]byte(seed.Reveal()))
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	if mine, err := pair.PublicKey(); err != nil || public != "" && mine != public {
		return nil, errOtherNkey
	}
	return pair.Sign(nonce)
}

// withoutUser takes the user out of each address.
func withoutUser(addresses string) string {
	parts := strings.Split(addresses, ",")
	for i, part := range parts {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil {
			u.User = nil
			parts[i] = u.String()
		}
	}
	return strings.Join(parts, ",")
}

// explain says in plain words why NATS does not have us.
func (c *Conn) explain(err error) error {
	if unread := c.unread.Load(); unread != nil {
		return *unread
	}
	err = transport.Explain(tlsSetting, err)
	text := strings.ToLower(err.Error())
	for said, why := range map[string]string{
		"authorization violation":    "NATS refuses the user: see nats and the file of its password, creds or nkey, and the users in the settings of NATS",
		"user authentication":        "NATS refuses the user: its creds have expired or were revoked",
		"secure connection not":      "the server speaks no TLS: use nats:// or switch TLS on there",
		"secure connection require":  "the server wants TLS: write tls:// in nats",
		"nkeys not supported":        "the server knows no nkeys: see the users in the settings of NATS",
		"closed by remote after tls": "the server ended the connection after the TLS handshake: it wants a client certificate, or does not take ours: see " + tlsSetting + ".cert",
		"holds another one now":      "NATS login",
	} {
		if strings.Contains(text, said) && !transport.Refused(err) {
			return &transport.Refusal{Why: why, Err: err}
		}
	}
	return err
}
