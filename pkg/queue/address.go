package queue

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

// Address says where a Redis is and how to log in. Its files are read for each connection: what was replaced in them holds
// from the next one on.
type Address struct {
	URL          secret.URL
	PasswordFile string        // of the URL's user; "": the URL has the password, or there is none
	TLS          transport.TLS // for a URL that begins with rediss
}

const (
	// tlsTimeout bounds one try to connect by TLS. It is shorter than operationTimeout, so that its error is the one that is told:
	// a Redis without TLS answers nothing to a handshake.
	tlsTimeout = 3 * time.Second
	// dialTries is how often a command dials: whoever gives it comes again, and is told why it failed.
	dialTries = 1
	// tlsSetting is what errors call the TLS files.
	tlsSetting = "redis_tls"
)

// quiet keeps go-redis from writing failed dials to standard error on its own: they come back as errors, and are told once.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// open makes a client whose commands end with their context and are never repeated by the library: a dequeue that is
// repeated after a time-out strands a task.
func open(a Address, sessions int) (*redis.Client, error) {
	quiet()
	if a.URL.IsSentinel() {
		return openSentinel(a, sessions)
	}
	o, err := redis.ParseURL(a.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("redis address %s: use redis://host:port/db", a.URL)
	}
	if o.TLSConfig != nil && o.TLSConfig.InsecureSkipVerify {
		return nil, fmt.Errorf("redis address %s: TLS is always verified: take skip_verify out, and name the server's CA in %s.ca", a.URL, tlsSetting)
	}
	o.MaxRetries = -1
	o.ContextTimeoutEnabled = true
	o.PoolSize = poolSize(sessions)
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.Dialer, o.DialerRetries = a.dialer(), dialTries
	o.DisableIdentity = true // CLIENT SETINFO is no command of a user with few permissions
	o.CredentialsProviderContext = a.login(o.Username)
	return redis.NewClient(o), nil
}

// openSentinel is open for a Redis behind Sentinel. The client asks a Sentinel for the master before each new connection,
// drops its connections when it hears of another master, and each that answers READONLY (go-redis sentinel.go, error.go):
// it needs nothing else from us, as a master without our keys is an emptied Redis.
func openSentinel(a Address, sessions int) (*redis.Client, error) {
	s, err := a.URL.Sentinel()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: s.Master, SentinelAddrs: s.Addresses, SentinelPassword: s.SentinelPassword.Reveal(),
		Username: s.User, Password: s.Password.Reveal(), CredentialsProviderContext: a.login(s.User), DB: s.DB,
		Dialer: a.dialer(), DialerRetries: dialTries, DisableIdentity: true,
		MaxRetries: -1, ContextTimeoutEnabled: true, PoolSize: poolSize(sessions),
	}), nil // it never asks for maintenance notifications (FailoverOptions.clientOptions)
}

func poolSize(sessions int) int { return min(poolBase+sessions, poolMax) }

// login reads the password for each connection; nil where it does not stand in a file.
func (a Address) login(user string) func(context.Context) (string, string, error) {
	if a.PasswordFile == "" {
		return nil
	}
	return func(context.Context) (string, string, error) {
		password, err := transport.ReadSecret(a.PasswordFile)
		return user, password.Reveal(), err
	}
}

// dialer makes TLS connections, to Sentinels and to the Redis that they name alike; nil where the address has no TLS.
func (a Address) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	if !a.URL.IsTLS() {
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		config, err := a.TLS.Config()
		if err != nil {
			return nil, err
		}
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, tlsTimeout, fmt.Errorf("no TLS connection within %s: see that this is a port with TLS", tlsTimeout))
		defer cancel()
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return conn, transport.Explain(tlsSetting, err)
	}
}

// explain says in plain words why Redis does not have us, where only somebody who changes something makes that go away.
func explain(err error) error {
	var why string
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"):
		why = "redis refuses the user or the password: see redis and redis_password_file, and the ACL of Redis"
	case redis.HasErrorPrefix(err, "NOAUTH"):
		why = "redis wants a password: see redis and redis_password_file"
	case redis.HasErrorPrefix(err, "NOPERM"):
		why = "the user lacks a permission: see the ACL of Redis (confhaul settings acl makes one)"
	default:
		return transport.Explain(tlsSetting, err)
	}
	return &transport.Refusal{Why: why, Err: err}
}
