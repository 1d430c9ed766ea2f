package stream

import (
	"errors"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/delta"
)

// RawMax is the size of the largest raw text that OpenRaw gives back, in bytes: twice the cap of an export.
const RawMax = delta.TextMax

// OpenRaw gives the raw text of a snapshot, as the device printed it, without the marker line.
//
// Other consumers open raw_zstd in the same way: it is one zstd frame, base64 in the JSON of the event. Its dictionary is
// the UTF-8 bytes of config_text as they are ("raw content", no trained dictionary, id 0); an empty config_text is none.
// The decoder must allow a window of 64 MB, as they do by default (zstd -d -D config.txt raw.zst). Example in Go:
//
//	dec, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, []byte(event.ConfigText)))
//	raw, err := dec.DecodeAll(event.RawZstd, nil)
func OpenRaw(snap backup.Snapshot) ([]byte, error) {
	if len(snap.RawZstd) == 0 {
		return nil, errors.New("open raw text: the snapshot holds none")
	}
	return delta.Unpack(nil, snap.RawZstd, []byte(snap.ConfigText), RawMax)
}
