package stream

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/delta"
)

// RawMax is the size of the largest raw text that OpenRaw gives back, in bytes: twice the cap of an export.
const RawMax = delta.TextMax

// OpenRaw gives the raw text of a snapshot, as the device printed it, without the marker line.
//
// Other consumers open raw_snappy in the same way: it is one block of Snappy, base64 in the JSON of the event. Snappy costs a
// worker a tenth of what zstd does, and the text is on the stream for a while only: the archive packs it tighter.
func OpenRaw(snap backup.Snapshot) ([]byte, error) {
	if len(snap.RawSnappy) == 0 {
		return nil, errors.New("open raw text: the snapshot holds none")
	}
	n, err := s2.DecodedLen(snap.RawSnappy)
	if err != nil {
		return nil, fmt.Errorf("open raw text: %w", err)
	}
	if n > RawMax {
		return nil, fmt.Errorf("open raw text: it has %d bytes, more than %d", n, RawMax)
	}
	return s2.Decode(nil, snap.RawSnappy)
}
