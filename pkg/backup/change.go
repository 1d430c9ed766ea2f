package backup

import (
	"errors"

	"github.com/confhaul/confhaul/pkg/device"
)

// ErrConflict says that a record changed since it was read: read it again and decide anew.
var ErrConflict = errors.New("the record changed since it was read")

// ErrStale says that a newer snapshot of the device is already on the stream.
var ErrStale = errors.New("a newer snapshot of the device is already on the stream")

// Bucket names one kind of record in the state store.
type Bucket string

// The buckets that are watched.
const (
	BucketDevices     Bucket = "devices"
	BucketState       Bucket = "state"
	BucketSites       Bucket = "sites"
	BucketRequests    Bucket = "requests"
	BucketCredentials Bucket = "credentials"
)

// Change is one record that came, changed or went. Exactly the field of its bucket is set, and none when Deleted.
type Change struct {
	Bucket   Bucket
	Key      string // <site>.<device> encoded; the encoded site in BucketSites, the encoded version in BucketCredentials
	Revision uint64
	Deleted  bool

	Device  device.Device
	State   State
	Site    device.Site
	Request Request
	Breaker Breaker
	HostKey device.HostKey // not watched, only listed
}
