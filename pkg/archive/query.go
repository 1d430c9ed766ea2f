package archive

import (
	"time"
)

// DeviceQuery chooses devices; its zero value all of them that are stored, removed ones too.
type DeviceQuery struct {
	Site  string // "": all
	Word  string // an id or a name; "": all
	After uint64 // only those with a higher Revision, lowest first, also those of which nothing is left; 0: all, by site, name and id
}

// Which names one version of a device by the one field that is set; the zero value is the newest version.
type Which struct {
	Number int
	Digest string    // or its beginning, at least DigestMin digits; the newest version that has it
	At     time.Time // the version that was in force then
}

// Stand is how far an archive is. What was stored by then has no higher Revision, and was Archived no later; what is stored
// afterwards has a higher one and was later, unless the clock went back.
type Stand struct {
	Revision uint64
	Archived time.Time // zero: nothing is stored
}

// DigestMin is the shortest beginning of a digest that names a version, in hex digits.
const DigestMin = 4

// ChangeQuery chooses versions by when they began.
type ChangeQuery struct {
	Since time.Time // from then on; zero: from the start
	Until time.Time // before then; zero: up to now
	Site  string    // that the device was at then; "": all
	Limit int       // 0: no limit
}

// SearchQuery chooses texts, one of each device.
type SearchQuery struct {
	At    time.Time // the state of that time; zero: the newest
	Site  string    // that the device is at now; "": all
	Match func(Version, []byte) bool
	// Match is called from several goroutines at once and must not keep the text. The Version it gets has no LastSeen and
	// no Previous; the one that fn gets is whole, and its text is fn's to keep.
}

// Policy says what is kept. Both limits hold: what is beyond either goes. The newest version of a device that was not removed
// always stays. Zero fields are no limit.
type Policy struct {
	Age      time.Duration // versions that were replaced longer ago than this go
	Versions int           // per device, the newest ones
	Removed  time.Duration // all of a device goes this long after it was removed
}

// Retained is what Retain removed.
type Retained struct {
	Versions int
	Devices  int // removed devices of which nothing is left
}

// Normalizer makes the normal form of a raw text.
type Normalizer struct {
	Version int
	Func    func(dst, raw []byte) []byte // appends the form to dst, as routeros.Normalize
}

// Renormalized is what Renormalize did.
type Renormalized struct {
	Snapshots int      // that have the new form
	Merged    int      // versions that were none
	Left      int      // snapshots that keep the old form: they have no raw text, or it is damaged or has no form
	Damaged   []string // devices with damaged raw texts
}

// Quarantined is a message that could not be archived.
type Quarantined struct {
	ID      uint64 // set by the store
	At      time.Time
	Reason  string // in words, at most WordMax bytes; more is cut off
	Subject string
	Site    string // as far as they are known
	Device  string
	Seq     uint64
	Size    int    // bytes of Data, set by the store
	Data    []byte // as it came, at most 2*TextMax
}

// Damage is one thing that Verify found. Without a device it concerns the file as a whole.
type Damage struct {
	Device  string
	Numbers []int  // the versions that cannot be read, or are not as they were
	What    string // normal, raw, latest, index, quarantine or file
	Err     error  // wraps ErrDamaged
}

// Verified is what Verify read.
type Verified struct {
	Devices  int
	Versions int
	Texts    int   // normal and raw ones, each once
	Bytes    int64 // of these texts
	Damaged  int   // calls of fn
}

// Stats are numbers of the whole archive.
type Stats struct {
	Devices     int // with at least one version
	Removed     int // of these
	Versions    int
	Quarantined int
	Bytes       int64 // of all versions' texts, normal and raw, as if each were a file
	Stored      int64 // of these texts as they are kept, compressed
	Disk        int64 // of the files
	Ratio       float64
	// Ratio is Bytes by Disk; 0 where nothing is stored.
}
