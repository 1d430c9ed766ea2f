package backup

import (
	"context"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/secret"
)

// Order is all a collector needs to fetch one device's export.
type Order struct {
	Device     device.Device
	Credential secret.Credential
	HostKey    *device.HostKey // nil: not known yet

	// Trust is called with an unknown host key after the login succeeded and before the export. An error ends the attempt.
	Trust func(ctx context.Context, key device.HostKey) error
	// Trace, where set, hears of each step as it ends.
	Trace func(Step)

	Version   string // the RouterOS version last seen; "": unknown
	LastBytes int    // size of the last good export; 0: none
	// LastDigest is of the last good export, in the normal form of LastNormalization, where nobody needs that again; "": none.
	LastDigest        string
	LastNormalization int
	SeenGaps          []string // menus that the last attempt's export could not print
	KnownGaps         []string // menus that the last good export could not print
	Secrets           int      // values of sensitive parameters in the last good export

	// LastNormal reads the normal form of the last good export, nil where it is not at hand. It is asked only where the
	// export has none of the secrets that the last one had.
	LastNormal func(ctx context.Context) ([]byte, error)
	// WithoutSecrets takes an export whose secrets are missing: somebody says that the router has none any more.
	WithoutSecrets bool

	Jumps []Hop // the way to the device, as in Device.Jumps

	FileLeft bool // an earlier attempt may have left a file on the router
}

// Hop is a jump host with what opens it.
type Hop struct {
	Jump       device.Jump
	Credential secret.Credential
	HostKey    *device.HostKey                                     // nil: not known yet
	Trust      func(ctx context.Context, key device.HostKey) error // as in Order
}

// Step is one part of a collection: dial, handshake, login, export, prove, normalize.
type Step struct {
	Name   string
	Took   time.Duration
	Detail string // what was seen, in words, without secrets
}

// Export is what a collector brought back. After a failure it is filled as far as it was known, and Raw is what the router
// printed last.
type Export struct {
	Started       time.Time // when the command was sent
	Raw           []byte    // the text as printed, without the marker line; not valid after Release
	Normal        []byte    // the normal form; not valid after Release
	Digest        string    // sha256 of Normal, lower-case hex
	Normalization int
	Version       string
	Identity      string
	Model         string
	SerialNumber  string
	KnownGaps     []string
	SeenGaps      []string
	Proof         string          // how the text proved itself: marker, twice or sftp
	Secrets       int             // values of sensitive parameters
	Legacy        []string        // outdated algorithms that the connection needed
	FileLeft      bool            // a file may be left on the router
	HostKey       *device.HostKey // that the router showed, also where it was not the one on record; nil: none was seen
	Release       func()          // gives the buffers back; never nil after success
}
