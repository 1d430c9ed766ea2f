package settings

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Validate checks the fields, alone and against each other, and changes nothing. The result joins one Error per problem.
func (s Settings) Validate() error {
	var errs []error
	check := func(field string, err error) {
		if err != nil {
			errs = append(errs, &fault.InputError{Field: field, Err: err})
		}
	}
	check("redis", checkRedis(s.Redis))
	check("nats", checkURLs(s.NATS.Reveal(), "nats", "tls", "ws", "wss"))
	if s.StatusRedis.Reveal() != "" {
		check("status_redis", checkURL(s.StatusRedis.Reveal(), "redis", "rediss", "unix"))
	}
	paths := s.paths()
	for _, field := range slices.Sorted(maps.Keys(paths)) {
		check(field, checkPath(*paths[field]))
	}
	s.checkLogins(check)
	if s.Data == "" {
		check("data", errors.New("is empty: name a directory"))
	}
	check("interval", atLeast(s.Interval, IntervalMin))
	check("jitter.min", atLeast(s.Jitter.Min, 0))
	if s.Jitter.Max < s.Jitter.Min {
		check("jitter.max", fmt.Errorf("%v is less than jitter.min, %v", s.Jitter.Max, s.Jitter.Min))
	}
	check("retry", checkRetry(s.Retry))
	check("redial_delay", atLeast(s.RedialDelay, 0))
	check("concurrency", between(int64(s.Concurrency), 1, ConcurrencyMax))
	if s.SiteLimit < -1 {
		check("site_limit", fmt.Errorf("%d: use -1 for no limit, or the number of sessions", s.SiteLimit))
	}
	check("listen", checkListen(s.Listen))
	if (s.ListenTLS.Cert == "") != (s.ListenTLS.Key == "") {
		check("listen_tls", errors.New("names one file of two: give cert and key"))
	}
	if s.Pprof != "" {
		check("pprof", checkLoopback(s.Pprof))
	}
	check("grace", atLeast(s.Grace, GraceMin))
	for _, d := range s.Timeouts.parts() {
		check("timeouts."+d.name, checkTimeout(*d.value, s.Timeouts.Whole))
	}
	check("timeouts.whole", checkTimeout(s.Timeouts.Whole, s.Timeouts.Whole))
	if s.Timeouts.Whole > WholeMax {
		check("timeouts.whole", fmt.Errorf("%v is too long: use at most %v", s.Timeouts.Whole, WholeMax))
	}
	check("stream.snapshot_bytes", atLeastBytes(s.Stream.SnapshotBytes))
	check("stream.event_bytes", atLeastBytes(s.Stream.EventBytes))
	check("stream.replicas", between(int64(s.Stream.Replicas), 1, ReplicasMax))
	if s.Stream.PerSubject < 1 {
		check("stream.per_subject", fmt.Errorf("%d is less than 1", s.Stream.PerSubject))
	}
	if s.Archive.KeepVersions < 0 {
		check("archive.keep_versions", fmt.Errorf("%d: use 0 for all, or the number of versions", s.Archive.KeepVersions))
	}
	check("archive.keep_for", atLeast(s.Archive.KeepFor, 0))
	check("archive.keep_removed", atLeast(s.Archive.KeepRemoved, 0))
	check("git.remote", s.Git.checkRemote())
	return errors.Join(errs...)
}

// checkRemote never repeats the address: it may hold a password.
func (g Git) checkRemote() error {
	if g.Remote == "" {
		return nil
	}
	switch u, err := url.Parse(g.Remote); {
	case !g.PushSecrets:
		return errors.New("the mirror holds the routers' secrets: it is pushed only where git.push_secrets: true says that the remote may have them")
	case g.Dir == "":
		return errors.New("there is no mirror to push: name its directory in git.dir")
	case strings.HasPrefix(g.Remote, "-"):
		return errors.New("begins with a dash")
	case err == nil && u.User != nil && hasPassword(u.User):
		return errors.New("has a password, which every user of the machine could see: use a key, or a credential helper of git")
	}
	return nil
}

func hasPassword(u *url.Userinfo) bool {
	_, has := u.Password()
	return has
}

type part struct {
	name  string
	value *time.Duration
}

// parts are the deadlines that lie within Whole.
func (t *Timeouts) parts() []part {
	return []part{
		{"dial", &t.Dial}, {"handshake", &t.Handshake}, {"login", &t.Login},
		{"first_byte", &t.FirstByte}, {"idle", &t.Idle},
	}
}

func checkTimeout(d, whole time.Duration) error {
	switch {
	case d <= 0:
		return fmt.Errorf("%v is no time at all: use a duration such as 30s", d)
	case whole > 0 && d > whole:
		return fmt.Errorf("%v is longer than timeouts.whole, %v", d, whole)
	}
	return nil
}

// checkPath keeps a directory named ~ from coming into being.
func checkPath(path string) error {
	if slices.Contains(strings.Split(path, "/"), "~") {
		return fmt.Errorf("%q: ~ is not expanded: write the path out", path)
	}
	return nil
}

func checkRetry(delays []time.Duration) error {
	if len(delays) == 0 {
		return errors.New("is empty: give at least one delay")
	}
	for _, d := range delays {
		if d <= 0 {
			return fmt.Errorf("%v is no delay: use a duration such as 5m", d)
		}
	}
	return nil
}

func checkListen(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q is not host:port", listen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q is not 0 to 65535", port)
	}
	return nil
}

// checkLoopback takes a host:port that no other machine can reach.
func checkLoopback(listen string) error {
	if err := checkListen(listen); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return fmt.Errorf("%q is no loopback address: use 127.0.0.1:PORT, and reach it through an SSH tunnel", listen)
	}
	return nil
}

func checkURLs(text string, schemes ...string) error {
	for one := range strings.SplitSeq(text, ",") {
		if err := checkURL(one, schemes...); err != nil {
			return err
		}
	}
	return nil
}

func checkRedis(u secret.URL) error {
	if u.IsSentinel() {
		_, err := u.Sentinel()
		return err
	}
	return checkURL(u.Reveal(), "redis", "rediss", "unix", secret.SentinelScheme, secret.SentinelTLSScheme)
}

// checkURL never repeats the address: it may hold a password, even where it does not parse.
func checkURL(text string, schemes ...string) error {
	if text == "" {
		return fmt.Errorf("is empty: use %s://host:port", schemes[0])
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && (u.Scheme != "unix" || u.Path == "") {
		return fmt.Errorf("is not an address such as %s://host:port", schemes[0])
	}
	if !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("begins with none of %s://", strings.Join(schemes, ":// "))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("port %s is not 1 to 65535", port)
		}
	}
	return nil
}

func atLeast(d, least time.Duration) error {
	if d < least {
		return fmt.Errorf("%v is less than %v", d, least)
	}
	return nil
}

func atLeastBytes(n int64) error {
	if n < StreamBytesMin {
		return fmt.Errorf("%d is less than %d bytes", n, StreamBytesMin)
	}
	return nil
}

func between(n, low, high int64) error {
	if n < low || n > high {
		return fmt.Errorf("%d is not %d to %d", n, low, high)
	}
	return nil
}
