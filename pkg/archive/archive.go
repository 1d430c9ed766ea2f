// Package archive is the history of the fleet: every distinct proven snapshot of every device, stored once and for good.
//
// A Store has one timeline per device. Its entries are snapshots, in the order of the times at which they were collected,
// whatever the order in which they came; a version is a run of entries with equal text. Put, Seen and Remove may be called
// again with what was stored before, which changes nothing, so that a caller acknowledges only after they return. A device is
// known by its id alone: its history goes with it when it moves to another site.
//
// Store and Reader are what callers see, archivetest.TestStore is what every implementation must pass, OpenSQLite is the
// implementation: one file of texts, each compressed against an earlier one.
package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/confhaul/confhaul/pkg/delta"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// Limits of what is stored.
const (
	TextMax = delta.TextMax // bytes of one text, normal or raw: twice the cap of an export
	PutMax  = 1000          // snapshots of one Put; its texts are in memory at once
	WordMax = 1024          // bytes of a name, version, model, serial number, identity or other short field
	GapsMax = 1000          // known gaps of one snapshot
)

// What errors.Is finds. The texts around them say where and what to do.
var (
	ErrNotFound  = errors.New("not in the archive")                  // no such device, version or quarantined message
	ErrAmbiguous = errors.New("more than one version fits")          // a digest prefix that is too short
	ErrRefused   = errors.New("the snapshot cannot be stored")       // quarantine it: it will never fit
	ErrDamaged   = errors.New("the archive is damaged")              // fault kind internal; Verify names all that is
	ErrLocked    = errors.New("another process writes this archive") // fault kind infrastructure
	ErrNone      = errors.New("there is no archive")                 // nothing was ever written in this directory
	ErrNewer     = errors.New("the archive was written by a newer version")
)

// Snapshot is one proven export on its way into the archive.
type Snapshot struct {
	Device, Site, Name, Tenant string

	CollectedAt   time.Time // when the export began
	Digest        string    // sha256 of Normal, lower-case hex; Put computes it anew
	Normalization int       // version of the normal form, from 1
	Normal        []byte    // at most TextMax
	Raw           []byte    // as the device printed it, at most TextMax; empty: not known

	RouterOS, Proof, Model, Serial, Identity string

	KnownGaps []string // menus that the device cannot print
	Trigger   string   // why the backup was made
	Attempt   string
	Seq       uint64 // on its stream; kept for people, says nothing about the order
}

// Status says what became of a snapshot.
type Status string

// The statuses.
const (
	New     Status = "new"     // it is a version of its own
	Same    Status = "same"    // its text equals the one before or the one after: it lengthens that version
	Known   Status = "known"   // it was stored before
	Expired Status = "expired" // retention has removed what was collected at its time
	Refused Status = "refused" // see Err
)

// Result is what became of one snapshot of a Put.
type Result struct {
	Status  Status
	Version Version // as it is after the whole Put; zero where Expired or Refused
	Err     error   // of Refused: wraps ErrRefused
}

// Sighting is an export that was proven and equals the snapshot with its digest: it is not stored, it was seen.
type Sighting struct {
	Device, Site, Name, Tenant string

	Digest string    // lower-case hex
	At     time.Time // when the export began
}

// Version is a run of snapshots of one device with equal text. Its facts are those of the first of them.
type Version struct {
	Device, Site, Name, Tenant string

	// Number counts the device's versions from 1, oldest first. Retention leaves it as it is. It moves where an older
	// snapshot arrives late, and where Renormalize finds that a version was none; Digest and FirstSeen do not.
	Number    int
	Digest    string    // of the normal form, lower-case hex
	Previous  string    // digest of the version before; "": there is none, or retention has removed it
	FirstSeen time.Time // when the first of its exports began
	LastSeen  time.Time // when the last export that is known to equal it began
	Archived  time.Time // when it was stored

	Size          int // bytes of the normal form
	RawSize       int // bytes of the raw text; 0: there is none
	Normalization int

	RouterOS, Proof, Model, Serial, Identity string

	KnownGaps []string
	Trigger   string
	Attempt   string
	Seq       uint64
}

// Device is what the archive knows of a device. All times but First may be zero.
type Device struct {
	ID, Site, Name, Tenant string // as in the newest snapshot or sighting

	First    time.Time // the oldest snapshot or sighting that was ever put
	Proven   time.Time // the newest snapshot or sighting
	Archived time.Time // the newest one whose text is stored: before Proven where the text is missing, or still on its way
	Changed  time.Time // the first snapshot of the newest version
	Removed  time.Time // when it left the inventory; zero: it has not

	Versions int // that are stored
	Number   int // of the newest version
	Digest   string
	Size     int // bytes of the newest normal form

	RouterOS, Model, Serial, Identity string // of the newest version

	// Revision moves up whenever the device's versions, site or name change and when it is removed or comes back; no two
	// transactions give the same. A mirror that remembers the highest it saw asks for what moved since.
	Revision uint64
}

// checked is a snapshot that may be stored, with its digests.
type checked struct {
	*Snapshot
	sum, rawSum [sha256.Size]byte
}

// check recomputes the digest and refuses what no store could keep.
func check(s *Snapshot) (checked, error) {
	c := checked{Snapshot: s, sum: sha256.Sum256(s.Normal), rawSum: sha256.Sum256(s.Raw)}
	refuse := func(format string, args ...any) (checked, error) {
		return c, fault.New(fault.Internal, "archive snapshot", "%w: "+format, append([]any{ErrRefused}, args...)...)
	}
	if err := checkWhere(s.Device, s.Site, s.CollectedAt); err != nil {
		return refuse("%w", err)
	}
	if have := hexDigest(c.sum[:]); have != s.Digest {
		return refuse("its digest is %q, its text has %s", cut(s.Digest, 2*sha256.Size), have)
	}
	switch {
	case len(s.Normal) == 0:
		return refuse("its normal form is empty")
	case len(s.Normal) > TextMax || len(s.Raw) > TextMax:
		return refuse("its texts have %d and %d bytes, the limit is %d", len(s.Normal), len(s.Raw), TextMax)
	case s.Normalization < 1:
		return refuse("its normalization version is %d", s.Normalization)
	case len(s.KnownGaps) > GapsMax:
		return refuse("it has %d known gaps, the limit is %d", len(s.KnownGaps), GapsMax)
	}
	words := append([]string{s.Name, s.Tenant, s.RouterOS, s.Proof, s.Model, s.Serial, s.Identity, s.Trigger, s.Attempt}, s.KnownGaps...)
	for _, w := range words {
		if len(w) > WordMax || !utf8.ValidString(w) {
			return refuse("the field %q is not text of at most %d bytes", cut(w, 40), WordMax)
		}
	}
	return c, nil
}

// checkWhere holds the keys of a timeline to what the inventory allows.
func checkWhere(id, site string, at time.Time) error {
	if err := device.CheckID(id); err != nil {
		return err
	}
	if err := device.CheckSite(site); err != nil {
		return err
	}
	if y := at.UTC().Year(); y < 1971 || y > 2200 { // what nanoseconds in 64 bits hold, and no zero time
		return errors.New("its time is in the year " + at.UTC().Format("2006"))
	}
	return nil
}

func cut(s string, n int) string {
	return string(bytes.ToValidUTF8([]byte(s[:min(len(s), n)]), []byte("?")))
}

// Reader answers the questions about history. Its methods may be called from several goroutines at once, and see what was
// committed when they began; a long one sees more of it for later devices. Times are UTC.
//
// Errors: ErrNotFound, ErrAmbiguous and ErrDamaged as said above; everything else that a disk can do has the fault kind
// infrastructure; the error of a function that was passed in comes back as it is.
type Reader interface {
	// Devices lists devices by site, name and id, or by Revision where that is asked for.
	Devices(ctx context.Context, q DeviceQuery) ([]Device, error)
	// Stand says how far the archive is.
	Stand(ctx context.Context) (Stand, error)
	// Versions lists the versions of a device, newest first: those with a number below before (0: all), limit at most (0: all).
	Versions(ctx context.Context, device string, before, limit int) ([]Version, error)
	// Version finds one version.
	Version(ctx context.Context, device string, which Which) (Version, error)
	// Normal reads the normal form of a version; it has the version's digest.
	Normal(ctx context.Context, device string, which Which) (Version, []byte, error)
	// Raw reads a version's text as the device printed it first. ErrNotFound where none was put.
	Raw(ctx context.Context, device string, which Which) (Version, []byte, error)
	// History gives fn every version of a device with its normal form, oldest first, for less than reading each.
	History(ctx context.Context, device string, fn func(Version, []byte) error) error
	// Changes gives fn the versions of the whole fleet that began in a span of time, newest first.
	Changes(ctx context.Context, q ChangeQuery, fn func(Version) error) error
	// Search gives fn what q.Match takes, by site, name and id. Texts that cannot be read do not end it: it goes through
	// all others and returns an error that wraps ErrDamaged and names the first few.
	Search(ctx context.Context, q SearchQuery, fn func(Version, []byte) error) error
	// Expired gives fn what Retain would remove now, device by device, oldest first.
	Expired(ctx context.Context, p Policy, now time.Time, fn func(Version) error) error
	// Quarantined lists what Quarantine stored, oldest first, without Data.
	Quarantined(ctx context.Context) ([]Quarantined, error)
	// QuarantinedData reads one message as it came.
	QuarantinedData(ctx context.Context, id uint64) ([]byte, error)
	// Verify reads and hashes everything that is stored, compares the index with it, and gives fn what is damaged.
	Verify(ctx context.Context, fn func(Damage) error) (Verified, error)
	// Stats counts.
	Stats(ctx context.Context) (Stats, error)
	Close() error
}

// Store is a Reader that also writes. One process at a time has it; its methods may be called from several goroutines at once.
// Each is one transaction unless it says otherwise: what it did is on the disk when it returns nil, and undone when it fails.
type Store interface {
	Reader
	// Put stores snapshots, at most PutMax, in one transaction, and says for each what became of it. One that is refused does
	// not keep the others out.
	Put(ctx context.Context, snaps []Snapshot) ([]Result, error)
	// Seen moves the last-seen times. A sighting whose snapshot is still on its way is kept for it. Impossible ones (a
	// device id, site, time or digest that is none) are left out, and returned.
	Seen(ctx context.Context, seen []Sighting) (bad []Sighting, err error)
	// Remove makes the devices tombstones: they left the inventory at that time. Unknown ones are left out, those that are
	// removed keep their time, and a later snapshot or sighting brings a device back.
	Remove(ctx context.Context, devices []string, at time.Time) error
	// Return makes devices of tombstones: they are in the inventory again, whether they can be backed up or not. Others are
	// left as they are.
	Return(ctx context.Context, devices []string) error
	// Renormalize gives all that is stored under an older normalization version its form under n, from the raw text: what
	// was a change only in the form is none any more. One transaction per device; what has no readable raw text, or one of
	// which no form can be made, stays.
	Renormalize(ctx context.Context, n Normalizer) (Renormalized, error)
	// Retain removes what the policy no longer keeps, in small transactions, until all is done or ctx ends.
	Retain(ctx context.Context, p Policy, now time.Time) (Retained, error)
	// Quarantine stores a message that cannot be archived. The same one again changes nothing.
	Quarantine(ctx context.Context, q Quarantined) error
	// Discard removes a quarantined message.
	Discard(ctx context.Context, id uint64) error
}
