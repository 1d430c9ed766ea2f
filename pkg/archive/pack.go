package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	windowMax = 2 * TextMax // a match may reach from the end of a text to the start of the dictionary before it
	dictMin   = 64          // bytes; a shorter dictionary is not worth its name, and none for both directions

	// Above these sizes of text and dictionary together the faster levels lose sight of the dictionary: the difference of a
	// 1.2 MB text is 8 KB at the fastest level and 200 bytes at the others. Below, they are as good and four times as fast.
	fastestMax = 256 << 10
	defaultMax = 1536 << 10
)

// plain has the coder and the decoder for texts without a dictionary, which many goroutines share.
var plain = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	n := runtime.GOMAXPROCS(0)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(n), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		panic(err) // the options are constant
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderMaxMemory(2*TextMax), zstd.WithDecoderMaxWindow(windowMax))
	if err != nil {
		panic(err)
	}
	return enc, dec
})

// pack compresses text, with dict as a raw dictionary. What it returns was opened again and compared.
func pack(text, dict []byte) ([]byte, error) {
	packed, err := packOnly(text, dict)
	if err != nil {
		return nil, err
	}
	back, err := unpack(nil, packed, dict)
	if err != nil {
		return nil, fmt.Errorf("open what was compressed: %w", err)
	}
	if !bytes.Equal(back, text) {
		return nil, fmt.Errorf("what was compressed from %d bytes opens as another text", len(text))
	}
	return packed, nil
}

func packOnly(text, dict []byte) ([]byte, error) {
	if len(dict) < dictMin {
		enc, _ := plain()
		return enc.EncodeAll(text, nil), nil
	}
	both := len(text) + len(dict)
	level := zstd.SpeedFastest
	switch {
	case both > defaultMax:
		level = zstd.SpeedBetterCompression
	case both > fastestMax:
		level = zstd.SpeedDefault
	}
	window := min(max(1<<bits.Len(uint(both)), zstd.MinWindowSize), windowMax)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(window), zstd.WithEncoderLevel(level), zstd.WithEncoderDictRaw(0, dict))
	if err != nil {
		return nil, err
	}
	packed := enc.EncodeAll(text, nil)
	return packed, enc.Close()
}

// unpack appends what pack compressed to dst.
func unpack(dst, packed, dict []byte) ([]byte, error) {
	if len(dict) < dictMin {
		_, dec := plain()
		return dec.DecodeAll(packed, dst)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(2*TextMax), zstd.WithDecoderMaxWindow(windowMax), zstd.WithDecoderDictRaw(0, dict))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(packed, dst)
}

// link is a stored text: whole, or as its difference from another one.
type link struct {
	id    int64
	base  int64 // 0: whole
	place int   // how many texts were made one after the other since the whole one
	sum   []byte
	size  int
	data  []byte
}

// fullEvery is how many texts follow a whole one, each as a difference, before the next whole one.
const fullEvery = 64

// placeAfter chooses where the text after chain[0] stands: its place, and the index in chain of the text that it is kept as the
// difference from; -1 for a whole one. A chain is a text, its base, the base of that, and so on.
//
// The base is not the text before but the one at the place with the lowest set bit cleared (as in Subversion's skip deltas),
// which is always in the chain: so no text has more than 6 bases below the whole one, and the differences grow a little,
// for they hold a few changes in place of one.
func placeAfter(chain []link) (place, base int) {
	if len(chain) == 0 {
		return 0, -1
	}
	place = chain[0].place + 1
	if place >= fullEvery {
		return 0, -1
	}
	target := place & (place - 1)
	for i, l := range chain {
		if l.place <= target {
			return place, i
		}
	}
	return 0, -1
}

// openChain gives the text of chain[0] and proves it by its digest. have gives texts that are at hand, nil where they are not.
func openChain(chain []link, have func(id int64) []byte, keep func(id int64, text []byte)) ([]byte, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: a text is missing", ErrDamaged)
	}
	start := len(chain) // the first link that is at hand
	var text []byte
	for i, l := range chain {
		if have != nil {
			if text = have(l.id); text != nil {
				start = i
				break
			}
		}
	}
	if start == len(chain) && chain[start-1].base != 0 {
		return nil, fmt.Errorf("%w: text %d, from which others are the difference, is missing", ErrDamaged, chain[start-1].base)
	}
	for i := start - 1; i >= 0; i-- {
		var err error
		if text, err = unpack(make([]byte, 0, min(max(chain[i].size, 0), TextMax)), chain[i].data, text); err != nil {
			return nil, fmt.Errorf("%w: text %d does not open: %w", ErrDamaged, chain[i].id, err)
		}
		if keep != nil {
			keep(chain[i].id, text)
		}
	}
	if sum := sha256.Sum256(text); !bytes.Equal(sum[:], chain[0].sum) {
		return nil, fmt.Errorf("%w: text %d should have digest %s and has %s", ErrDamaged, chain[0].id, hexDigest(chain[0].sum), hexDigest(sum[:]))
	}
	return text, nil
}

func hexDigest(sum []byte) string { return hex.EncodeToString(sum) }
