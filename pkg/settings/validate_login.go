package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

// checkLogins checks how this process logs in to Redis and NATS. TLS stands in the address, so that a reader of it knows;
// files that no connection would use are a mistake.
func (s Settings) checkLogins(check func(field string, err error)) {
	check("redis", checkPassword(s.Redis, "redis_password_file", s.RedisPasswordFile))
	checkTLS("redis_tls", s.RedisTLS, s.Redis.IsTLS() || s.StatusRedis.IsTLS(), "redis: rediss://... or rediss-sentinel://...", check)

	given := map[string]string{"nats_password_file": s.NATSPasswordFile, "nats_creds_file": s.NATSCredsFile, "nats_nkey_file": s.NATSNkeyFile}
	var names []string
	for _, name := range []string{"nats_password_file", "nats_creds_file", "nats_nkey_file"} {
		if given[name] != "" {
			names = append(names, name)
		}
	}
	user, _ := s.NATS.Login()
	switch {
	case len(names) > 1:
		check(names[1], fmt.Errorf("%s are set: give one of them", strings.Join(names, " and ")))
	case s.NATSPasswordFile != "":
		check("nats", checkPassword(s.NATS, "nats_password_file", s.NATSPasswordFile))
	case len(names) == 1 && user != "":
		check("nats", fmt.Errorf("has a user or a token, and %s is set: give one of them", names[0]))
	}
	if strings.ContainsAny(s.NATSAPIPrefix, " *>") || strings.HasSuffix(s.NATSAPIPrefix, ".") {
		check("nats_api_prefix", fmt.Errorf("%q is no prefix such as CONFHAUL.API", s.NATSAPIPrefix))
	}
	checkTLS("nats_tls", s.NATSTLS, s.NATS.IsTLS(), "nats: tls://...", check)
}

// checkPassword holds the user of an address against the file of its password.
func checkPassword(u secret.URL, field, file string) error {
	user, has := u.Login()
	switch {
	case file != "" && has:
		return fmt.Errorf("has a password, and %s is set: give one of them", field)
	case file != "" && user == "" && field == "nats_password_file":
		return fmt.Errorf("names no user for the password in %s: use nats://USER@host:port", field)
	case file == "" && user != "" && !has && field == "redis_password_file":
		return fmt.Errorf("has a user without a password: use user:password@, or name its file in %s", field)
	}
	return nil
}

func checkTLS(field string, t transport.TLS, inUse bool, want string, check func(field string, err error)) {
	if t != (transport.TLS{}) && !inUse {
		check(field, fmt.Errorf("is set, and the address has no TLS: write %s", want))
	}
	if t.Cert != "" && t.Key == "" {
		check(field+".key", errors.New("is missing: a certificate needs its key"))
	}
	if t.Key != "" && t.Cert == "" {
		check(field+".cert", errors.New("is missing: a key needs its certificate"))
	}
}
