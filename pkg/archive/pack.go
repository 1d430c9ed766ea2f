package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/confhaul/confhaul/pkg/delta"
)

// dictMin is in bytes: a shorter dictionary is not worth its name, and none for both directions.
const dictMin = 64

func dictionary(dict []byte) []byte {
	if len(dict) < dictMin {
		return nil
	}
	return dict
}

// pack compresses text, with dict as a raw dictionary. What it returns was opened again and compared.
func pack(text, dict []byte) ([]byte, error) {
	packed, err := delta.Pack(text, dictionary(dict))
	if err != nil {
		return nil, err
	}
	back, err := unpack(make([]byte, 0, len(text)), packed, dict)
	if err != nil {
		return nil, fmt.Errorf("open what was compressed: %w", err)
	}
	if !bytes.Equal(back, text) {
		return nil, fmt.Errorf("what was compressed from %d bytes opens as another text", len(text))
	}
	return packed, nil
}

// unpack appends what pack compressed to dst.
func unpack(dst, packed, dict []byte) ([]byte, error) {
	return delta.Unpack(dst, packed, dictionary(dict), 2*TextMax) // a quarantined message has a text in an event
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
