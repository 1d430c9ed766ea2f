package sshclient

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha1" // #nosec G505 -- what OpenSSH hashes host names with
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// The limits of a known_hosts file.
const (
	knownLineMax   = 64 << 10 // bytes of a line
	knownLinesMax  = 500_000  // lines, comments too
	knownErrorsMax = 100      // bad lines that are told one by one
)

// KnownHosts is what a known_hosts file says.
type KnownHosts struct {
	keys     []device.HostKey
	plain    map[string][]int // host as knownhosts.Normalize has it, to indices of keys
	patterns []knownPattern   // lines that must be tried one by one
	revoked  map[string]bool  // keys in wire format
}

// knownPattern is a line with wildcards or negations, or with a hashed name.
type knownPattern struct {
	hosts      []string
	salt, hash []byte
	key        int
}

// ParseKnownHosts reads an OpenSSH known_hosts file; file names it in errors. A line that cannot be taken is left out and
// told as a *fault.InputError, joined with the others (after 100 only counted), and what was taken comes back along with the
// error. Left out are bad lines, keys of types that this package does not take, such as DSA, lines marked @cert-authority and
// unknown markers. A key marked @revoked is told too, and Lookup never gives it. Reading ends at a line of more than 64 KiB
// and after 500,000 lines.
func ParseKnownHosts(r io.Reader, file string) (*KnownHosts, error) {
	k := &KnownHosts{plain: map[string][]int{}, revoked: map[string]bool{}}
	var bad []error
	more := 0
	report := func(line int, err error) {
		if len(bad) >= knownErrorsMax {
			more++
			return
		}
		bad = append(bad, &fault.InputError{File: file, Line: line, Err: err})
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, knownLineMax)
	n := 0
	for lines.Scan() {
		if n++; n > knownLinesMax {
			report(n, fmt.Errorf("more than %d lines; the rest was not read", knownLinesMax))
			break
		}
		if err := k.line(lines.Bytes()); err != nil {
			report(n, err)
		}
	}
	if err := lines.Err(); err != nil {
		bad = append(bad, &fault.InputError{File: file, Line: n + 1, Err: fmt.Errorf("read known hosts: %w; the rest was not read", err)})
	}
	if more > 0 {
		bad = append(bad, &fault.InputError{File: file, Err: fmt.Errorf("%d more lines were left out", more)})
	}
	return k, errors.Join(bad...)
}

// line takes one line.
func (k *KnownHosts) line(line []byte) error {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] == '#' {
		return nil
	}
	marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("neither host nor key: a line is `host type key`")
	case err != nil:
		return fmt.Errorf("not taken: %s", strings.TrimPrefix(err.Error(), "ssh: "))
	case marker == "revoked":
		k.revoked[string(key.Marshal())] = true
		return fmt.Errorf("key %s is revoked: it is taken for no host", ssh.FingerprintSHA256(key))
	case marker != "":
		return fmt.Errorf("marker %s is not supported: list the host's own key", quote("@"+marker))
	case typeRank(key.Type()) < 0:
		return fmt.Errorf("keys of type %s are not taken", key.Type())
	}
	return k.add(hosts, hostKey(key, device.HostKeyImported))
}

func (k *KnownHosts) add(hosts []string, key device.HostKey) error {
	p := knownPattern{key: len(k.keys)}
	if strings.HasPrefix(hosts[0], "|") {
		var err error
		if p.salt, p.hash, err = hashedHost(hosts); err != nil {
			return err
		}
	}
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == "" })
	if slices.Contains(hosts, "!") || len(hosts) == 0 {
		return errors.New("a host name is empty")
	}
	switch {
	case p.hash != nil:
		k.patterns = append(k.patterns, p)
	case slices.ContainsFunc(hosts, func(h string) bool { return strings.ContainsAny(h, "*?!") }):
		for i, h := range hosts {
			hosts[i] = strings.ToLower(h)
		}
		p.hosts = hosts
		k.patterns = append(k.patterns, p)
	default:
		for i, h := range hosts {
			var err error
			if hosts[i], err = knownName(h); err != nil {
				return err
			}
		}
		for _, name := range hosts {
			k.plain[name] = append(k.plain[name], p.key)
		}
	}
	k.keys = append(k.keys, key)
	return nil
}

// hashedHost reads |1|salt|hash.
func hashedHost(hosts []string) (salt, hash []byte, err error) {
	parts := strings.Split(hosts[0], "|")
	if len(hosts) != 1 || len(parts) != 4 || parts[1] != "1" {
		return nil, nil, errors.New("a hashed host is |1|salt|hash and alone on its line")
	}
	for i, to := range []*[]byte{&salt, &hash} {
		if *to, err = base64.StdEncoding.DecodeString(parts[2+i]); err != nil {
			return nil, nil, fmt.Errorf("hashed host: %w", err)
		}
	}
	if len(hash) != sha1.Size {
		return nil, nil, errors.New("hashed host: the hash has not 20 bytes")
	}
	return salt, hash, nil
}

// knownName normalizes a host as it stands in a file: a name or an address, or either in brackets with a port.
func knownName(host string) (string, error) {
	if !strings.HasPrefix(host, "[") {
		return normalName(host, device.DefaultPort), nil
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return "", fmt.Errorf("host %s is not [host]:port", quote(host))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("host %s has no port", quote(host))
	}
	return normalName(name, int(n)), nil
}

// normalName is address and port as OpenSSH compares them.
func normalName(address string, port int) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		address = ip.String()
	}
	if port == 0 {
		port = device.DefaultPort
	}
	return strings.ToLower(knownhosts.Normalize(net.JoinHostPort(address, strconv.Itoa(port))))
}

// Lookup gives the keys of a host, best type first, none twice. SeenAt is left to who puts one on record. port 0 means 22.
// It takes constant time for plain entries, and as long as there are lines with wildcards or hashed names.
func (k *KnownHosts) Lookup(address string, port int) []device.HostKey {
	name := normalName(address, port)
	found := slices.Clone(k.plain[name])
	for _, p := range k.patterns {
		if p.match(name) {
			found = append(found, p.key)
		}
	}
	var keys []device.HostKey
	for _, i := range found {
		key := k.keys[i]
		if !k.revoked[string(key.Key)] && !slices.ContainsFunc(keys, func(o device.HostKey) bool { return bytes.Equal(o.Key, key.Key) }) {
			keys = append(keys, key)
		}
	}
	slices.SortStableFunc(keys, func(a, b device.HostKey) int { return typeRank(a.Type) - typeRank(b.Type) })
	return keys
}

// match says whether the line is about a host. A negation that matches rules the line out, as in OpenSSH.
func (p knownPattern) match(name string) bool {
	if p.hash != nil {
		mac := hmac.New(sha1.New, p.salt)
		mac.Write([]byte(name))
		return hmac.Equal(mac.Sum(nil), p.hash)
	}
	matched := false
	for _, h := range p.hosts {
		pattern, negated := strings.CutPrefix(h, "!")
		if !wildcard(pattern, name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// wildcard matches * and ?, going back to the last * only, so that it takes len(pattern) * len(s) at most.
func wildcard(pattern, s string) bool {
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// typeRank orders key types as we prefer them; negative for a type that is not taken.
func typeRank(keyType string) int {
	return slices.Index([]string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	}, keyType)
}

// hostRune says whether r may stand in a host name.
func hostRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
}

// FormatKnownHosts is the known_hosts line of a host's key, without a newline. It fails for a record that is only a
// fingerprint, of which no line can be made, and for an address that would break the line. port 0 means 22.
func FormatKnownHosts(address string, port int, k device.HostKey) (string, error) {
	if len(k.Key) == 0 {
		return "", fmt.Errorf("format host key of %s: only the fingerprint %s is on record, and known_hosts needs the key", address, k.Fingerprint)
	}
	name := address
	if ip, err := netip.ParseAddr(address); err == nil {
		name = "ip" + ip.Zone() // which may be anything
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !hostRune(r) }) {
		return "", fmt.Errorf("format host key: %q cannot stand in known_hosts", address)
	}
	key, err := ssh.ParsePublicKey(k.Key)
	if err != nil {
		return "", fmt.Errorf("format host key of %s: %w", address, err)
	}
	return knownhosts.Line([]string{normalName(address, port)}, key), nil
}
