package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
)

// TestPlace: 64 texts to a whole one, and at most 6 bases below it.
func TestPlace(t *testing.T) {
	t.Parallel()
	all := map[int64]link{}
	rests := func(id int64) (chain []link) {
		for id != 0 {
			chain = append(chain, all[id])
			id = all[id].base
		}
		return chain
	}
	whole := 0
	for id := int64(1); id <= 1000; id++ {
		chain := rests(id - 1)
		l := link{id: id}
		var base int
		if l.place, base = placeAfter(chain); base >= 0 {
			l.base = chain[base].id
		} else {
			whole++
		}
		all[id] = l
		if n := len(rests(id)); n > 7 {
			t.Errorf("text %d rests on %d", id, n-1)
		}
	}
	if whole != 1000/fullEvery+1 {
		t.Errorf("%d of 1000 are whole", whole)
	}
}

func TestPack(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("add action=accept chain=forward\n"), 100_000)
	for _, dict := range [][]byte{nil, []byte("short"), big[:5000], big} {
		for _, text := range [][]byte{nil, []byte("x"), big[:4999], big} {
			packed, err := pack(text, dict)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(text)
			chain := []link{{id: 2, base: 1, data: packed, sum: sum[:], size: len(text)}}
			have := func(int64) []byte { return nil }
			if len(dict) > 0 {
				whole, err := pack(dict, nil)
				if err != nil {
					t.Fatal(err)
				}
				chain = append(chain, link{id: 1, data: whole})
			} else {
				chain[0].base = 0
			}
			got, err := openChain(chain, have, nil)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes on %d: %d bytes, %v", len(text), len(dict), len(got), err)
			}
			chain[0].sum = make([]byte, sha256.Size)
			if _, err := openChain(chain, nil, nil); !errors.Is(err, ErrDamaged) {
				t.Errorf("another digest: %v", err)
			}
		}
	}
}
