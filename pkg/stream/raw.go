package stream

import (
	"errors"
	"math/bits"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/confhaul/confhaul/pkg/backup"
)

// RawMax is the size of the largest raw text that OpenRaw gives back, in bytes: twice the cap of an export.
const RawMax = 32 << 20

// A match may reach from the end of the raw text to the start of the dictionary before it.
const windowMax = 2 * RawMax

// packing bounds the (de)compressions at work, each of which takes a core and several times its text in memory.
var packing = make(chan struct{}, runtime.GOMAXPROCS(0))

// packRaw compresses raw with the normal form as dictionary: they differ in little, so that next to nothing remains.
func packRaw(raw []byte, normal string) ([]byte, error) {
	packing <- struct{}{}
	defer func() { <-packing }()
	opts := []zstd.EOption{
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window(len(raw) + len(normal))),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression), // the faster ones lose sight of a dictionary of some MB
	}
	if normal != "" {
		opts = append(opts, zstd.WithEncoderDictRaw(0, []byte(normal)))
	}
	enc, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		return nil, err
	}
	packed := enc.EncodeAll(raw, nil)
	return packed, enc.Close()
}

// window is the power of two that holds size bytes, within what zstd allows.
func window(size int) int {
	return min(max(1<<bits.Len(uint(size)), zstd.MinWindowSize), windowMax)
}

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
	return unpackRaw(snap.RawZstd, snap.ConfigText)
}

// unpackRaw is the inverse of packRaw.
func unpackRaw(packed []byte, normal string) ([]byte, error) {
	packing <- struct{}{}
	defer func() { <-packing }()
	opts := []zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(RawMax), zstd.WithDecoderMaxWindow(windowMax),
	}
	if normal != "" {
		opts = append(opts, zstd.WithDecoderDictRaw(0, []byte(normal)))
	}
	dec, err := zstd.NewReader(nil, opts...)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(packed, nil)
}
