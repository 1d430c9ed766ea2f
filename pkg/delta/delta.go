// Package delta compresses a text as its difference from another one that it resembles: one zstd frame, with the other text
// as raw dictionary (id 0).
package delta

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// TextMax is the largest text and the largest base, in bytes, that zstd's default window lets any decoder open again: twice
// the cap of an export.
const TextMax = 32 << 20

// windowMax: a match may reach from the end of the text to the start of the base before it.
const windowMax = 2 * TextMax

// Up to these sizes of text and base together the faster levels see all of the base, and are as good as the slower ones and
// several times as fast. Above, the difference of a 1.2 MB text is 8 KB at the fastest level and 200 bytes at the others.
const (
	fastestMax = 256 << 10
	defaultMax = 1536 << 10
)

// working bounds the texts in work, each of which takes a core and several times its size in memory.
var working = make(chan struct{}, runtime.GOMAXPROCS(0))

// Coders keep their tables from one text to the next: to make these costs more than a text of 100 KB.
var (
	plainEncoders   = encoders(zstd.SpeedFastest, 8<<20)
	fastestEncoders = encoders(zstd.SpeedFastest, 2*fastestMax)
	defaultEncoders = encoders(zstd.SpeedDefault, 2*defaultMax)
	plainDecoders   = decoders()
	baseDecoders    = decoders()
)

func newEncoder(level zstd.EncoderLevel, window int) *zstd.Encoder {
	window = min(max(1<<bits.Len(uint(window-1)), zstd.MinWindowSize), windowMax)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(level), zstd.WithWindowSize(window))
	if err != nil {
		panic(fmt.Sprintf("zstd refuses a window of %d bytes: %v", window, err)) // no input makes the options wrong
	}
	return enc
}

func encoders(level zstd.EncoderLevel, window int) *sync.Pool {
	return &sync.Pool{New: func() any { return newEncoder(level, window) }}
}

func decoders() *sync.Pool {
	return &sync.Pool{New: func() any {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowMax))
		if err != nil {
			panic(err) // the options are constant
		}
		return dec
	}}
}

// Pack compresses text as its difference from base; an empty base is none.
func Pack(text, base []byte) ([]byte, error) {
	working <- struct{}{}
	defer func() { <-working }()
	if len(base) == 0 {
		enc := plainEncoders.Get().(*zstd.Encoder)
		defer plainEncoders.Put(enc)
		return enc.EncodeAll(text, nil), nil
	}
	var enc *zstd.Encoder
	switch both := len(text) + len(base); {
	case both <= fastestMax:
		enc = fastestEncoders.Get().(*zstd.Encoder)
		defer fastestEncoders.Put(enc)
	case both <= defaultMax:
		enc = defaultEncoders.Get().(*zstd.Encoder)
		defer defaultEncoders.Put(enc)
	default: // rare, and its tables have megabytes
		enc = newEncoder(zstd.SpeedBetterCompression, both)
		defer func() { _ = enc.Close() }() // it writes nowhere
	}
	if err := enc.ResetWithOptions(nil, zstd.WithEncoderDictRaw(0, base)); err != nil {
		return nil, err
	}
	return enc.EncodeAll(text, nil), nil
}

// Unpack appends to dst what Pack made of a text with the same base; more than most bytes are an error.
func Unpack(dst, packed, base []byte, most int) ([]byte, error) {
	working <- struct{}{}
	defer func() { <-working }()
	pool, opts := plainDecoders, []zstd.DOption{zstd.WithDecoderMaxMemory(uint64(max(most, 1)))}
	if len(base) > 0 {
		pool, opts = baseDecoders, append(opts, zstd.WithDecoderDictRaw(0, base))
	}
	dec := pool.Get().(*zstd.Decoder)
	if err := dec.ResetWithOptions(nil, opts...); err != nil {
		return dst, err
	}
	out, err := dec.DecodeAll(packed, dst)
	if err == nil { // one that failed is not used again
		pool.Put(dec)
	}
	return out, err
}
