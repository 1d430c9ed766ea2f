package secret

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// SentinelScheme begins the address of a Redis that Sentinels lead to:
//
//	redis-sentinel://[user:password@]host:port[,host:port...]/MASTER[/DB][?sentinel_password=...]
//
// User and password are Redis'; what they and Sentinel's password hold of @ : / ? # & % is written %XX. With SentinelTLSScheme
// the connections to the Sentinels and to Redis are TLS.
const (
	SentinelScheme    = "redis-sentinel"
	SentinelTLSScheme = "rediss-sentinel"
)

// Sentinel is such an address, taken apart.
type Sentinel struct {
	Addresses        []string // host:port of each Sentinel
	Master           string
	DB               int
	User             string
	Password         Text
	SentinelPassword Text
	TLS              bool
}

// masterName holds what Sentinel allows in the name of a master (redis 7.0 src/sentinel.c: "Letters, digits and .-_").
var masterName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// IsSentinel says whether the address begins with SentinelScheme or SentinelTLSScheme.
func (u URL) IsSentinel() bool { return u.hasScheme(SentinelScheme) || u.hasScheme(SentinelTLSScheme) }

func (u URL) hasScheme(want string) bool {
	scheme, _, ok := strings.Cut(u.Reveal(), "://")
	return ok && strings.EqualFold(scheme, want)
}

// Sentinel takes an address that IsSentinel apart, which url.Parse cannot: it has several hosts. The error never repeats
// the text, which may hold a password where it is wrong, too.
func (u URL) Sentinel() (Sentinel, error) {
	s := Sentinel{TLS: u.hasScheme(SentinelTLSScheme)}
	_, rest, _ := strings.Cut(u.Reveal(), "://")
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if err := s.setUser(authority); err != nil {
		return Sentinel{}, err
	}
	for address := range strings.SplitSeq(authority[strings.LastIndex(authority, "@")+1:], ",") {
		if !isHostPort(address) {
			return Sentinel{}, fmt.Errorf("names a Sentinel that is not host:port: use %s://host:port,host:port/MASTER", SentinelScheme)
		}
		s.Addresses = append(s.Addresses, address)
	}
	var db string
	var hasDB bool
	if s.Master, db, hasDB = strings.Cut(path, "/"); !masterName.MatchString(s.Master) {
		return Sentinel{}, fmt.Errorf("names no master as Sentinel knows it: use %s://host:port,host:port/MASTER", SentinelScheme)
	}
	if hasDB {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return Sentinel{}, fmt.Errorf("names a database that is not a number: use %s://host:port,host:port/MASTER/0", SentinelScheme)
		}
		s.DB = int(n)
	}
	return s, s.setQuery(query)
}

func (s *Sentinel) setUser(authority string) error {
	at := strings.LastIndex(authority, "@")
	if at < 0 {
		return nil
	}
	p, err := url.Parse("redis://" + authority[:at+1] + "host")
	if err != nil || p.User == nil || strings.Contains(authority[:at], "@") { // one user, before all Sentinels
		return errors.New("has a user or password that cannot be read: give them once, before the first Sentinel, and write what is not a letter or digit in them as %XX")
	}
	password, _ := p.User.Password() // it may stand in a file
	s.User, s.Password = p.User.Username(), New(password)
	return nil
}

func (s *Sentinel) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("has something behind ? that cannot be read: write what is not a letter or digit in it as %XX")
	}
	for name, all := range values {
		if name != "sentinel_password" || len(all) != 1 {
			return errors.New("may have one sentinel_password behind ?, and nothing else")
		}
		s.SentinelPassword = New(all[0])
	}
	return nil
}

func isHostPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && n > 0 && host != "" && !strings.ContainsAny(host, " @%#")
}

// String is the address without user and passwords.
func (s Sentinel) String() string {
	scheme := SentinelScheme
	if s.TLS {
		scheme = SentinelTLSScheme
	}
	return fmt.Sprintf("%s://%s/%s/%d", scheme, strings.Join(s.Addresses, ","), s.Master, s.DB)
}
