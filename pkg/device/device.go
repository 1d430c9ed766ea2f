// Package device has the nouns of the inventory: devices, sites, host keys, and the names under which they travel.
package device

import (
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of an inventory entry that leaves the field out.
const (
	DefaultSite     = "default"
	DefaultTenant   = "default"
	DefaultPlatform = "routeros"
	DefaultPort     = 22
)

// Device is one router as the registry keeps it (KV bucket devices). It holds the name of a credential, never a secret.
type Device struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Address    string        `json:"address"` // host name, IPv4 or IPv6 without brackets
	Port       int           `json:"port"`
	Site       string        `json:"site"`
	Tenant     string        `json:"tenant"`
	Platform   string        `json:"platform"`
	Credential string        `json:"credential"`
	Enabled    bool          `json:"enabled"`
	Interval   time.Duration `json:"interval,omitempty"` // 0: the fleet's
	FirstSeen  time.Time     `json:"first_seen"`

	Proof       string `json:"proof,omitempty"`        // how an export proves that it is whole: "" (end marker) or ProofTwice
	LargeExport string `json:"large_export,omitempty"` // what to do where SSH cuts it twice: "" (nothing) or LargeExportSFTP
	Jumps       []Jump `json:"jumps,omitempty"`        // hosts to go through, the one we dial first; at most JumpsMax
}

// The values of Proof and LargeExport.
const (
	ProofTwice      = "twice" // two exports in one session with one normal form, for releases that refuse the end marker
	LargeExportSFTP = "sftp"  // the router writes the export into a file, which is fetched and removed; needs policies write and ftp
)

// JumpsMax bounds the jump hosts on the way to one device.
const JumpsMax = 4

// Jump is a host on the way to a device. It is a device of the inventory itself, enabled or not.
type Jump struct {
	ID         string `json:"id"`
	Site       string `json:"site"`
	Address    string `json:"address"`
	Port       int    `json:"port"`
	Credential string `json:"credential"`
}

// Endpoint is address and port, with brackets round an IPv6 address.
func (j Jump) Endpoint() string { return net.JoinHostPort(j.Address, strconv.Itoa(j.Port)) }

// Key is the key of the host's own records, as Device.Key.
func (j Jump) Key() string { return Key(j.Site, j.ID) }

// Equal says whether the records are the same, FirstSeen aside.
func (d Device) Equal(o Device) bool {
	same := slices.Equal(d.Jumps, o.Jumps)
	d.FirstSeen, o.FirstSeen, d.Jumps, o.Jumps = time.Time{}, time.Time{}, nil, nil
	return same && reflect.DeepEqual(d, o)
}

// Endpoint is address and port, with brackets round an IPv6 address.
func (d Device) Endpoint() string { return net.JoinHostPort(d.Address, strconv.Itoa(d.Port)) }

// Key is the device's key in every KV bucket and the tail of its subjects: <site>.<device>, both encoded.
func (d Device) Key() string { return Key(d.Site, d.ID) }

// Inventory says which inventory file the registry holds (KV bucket inventory, key current).
type Inventory struct {
	Digest     string    `json:"digest"` // sha256 of the file
	Generation uint64    `json:"generation"`
	LoadedAt   time.Time `json:"loaded_at"`
	Applied    bool      `json:"applied"` // false while a process writes the difference; any holder of the same file may finish it
}

// HostKey is the identity of an SSH server.
type HostKey struct {
	Type        string        `json:"type"`        // the SSH name, as in ssh-ed25519; "" where only a fingerprint was given
	Fingerprint string        `json:"fingerprint"` // SHA256:... as OpenSSH prints it
	Key         []byte        `json:"key"`         // SSH wire format; empty where only a fingerprint was given
	SeenAt      time.Time     `json:"seen_at"`     // when it was put on record
	Source      HostKeySource `json:"source,omitempty"`
}

// HostKeySource says how a host key came on record.
type HostKeySource string

// The sources.
const (
	HostKeyFirstUse HostKeySource = "first-use" // a worker saw it first
	HostKeyImported HostKeySource = "imported"  // from a known_hosts file
	HostKeyAccepted HostKeySource = "accepted"  // an operator took it
)

var (
	idShape   = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,128}$`)
	siteShape = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
)

// CheckID says whether id may name a device: 1 to 128 of A-Z a-z 0-9 . _ : @ -
func CheckID(id string) error {
	if !idShape.MatchString(id) {
		return fmt.Errorf("%q is not a device id: use 1 to 128 of A-Z a-z 0-9 . _ : @ -", id)
	}
	return nil
}

// CheckSite says whether name may name a site: 1 to 40 of a-z 0-9 -
func CheckSite(name string) error {
	if !siteShape.MatchString(name) {
		return fmt.Errorf("%q is not a site name: use 1 to 40 of a-z 0-9 -", name)
	}
	return nil
}

// Key joins the encoded site and device id with a dot. It is safe as a KV key and as two tokens of a NATS subject.
func Key(site, id string) string { return Encode(site) + "." + Encode(id) }

// Encode writes every byte but A-Z a-z 0-9 _ - as =XX, which no KV key and no subject token can misread.
func Encode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// Decode is the inverse of Encode.
func Decode(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("decode %q: cut inside an escape", s)
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("decode %q: %w", s, err)
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

// SplitKey takes a Key apart.
func SplitKey(key string) (site, id string, err error) {
	s, d, ok := strings.Cut(key, ".")
	if !ok {
		return "", "", fmt.Errorf("key %q is not <site>.<device>", key)
	}
	if site, err = Decode(s); err != nil {
		return "", "", err
	}
	id, err = Decode(d)
	return site, id, err
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
