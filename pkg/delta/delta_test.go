package delta

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// export makes a text of about size bytes, and another one that says the same in shorter lines.
func export(size int, seed uint64) (normal, raw []byte) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "add address=10.%d.%d.%d list=blocked comment=%x\n", rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), rnd.Uint64())
	}
	text := "/ip firewall address-list\n" + b.String()
	return []byte(text), []byte("# 2026-01-02 03:04:05 by RouterOS 7.20\r\n" + strings.ReplaceAll(text, " list=blocked", " \\\r\n    list=blocked"))
}

// TestAnyDecoder: whatever was packed before, each frame opens with a plain decoder and its base alone.
func TestAnyDecoder(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			sizes := []int{100, 100 << 10, 300 << 10, 10, 100 << 10}
			if worker == 0 {
				sizes = append(sizes, 1<<20, 1<<10)
			}
			for i, size := range sizes {
				normal, raw := export(size, uint64(worker*100+i))
				for _, base := range [][]byte{normal, nil, []byte("/"), normal[:len(normal)/2]} {
					packed, err := Pack(raw, base)
					if err != nil {
						t.Error(err)
						return
					}
					if bytes.Equal(base, normal) && size >= 100<<10 && len(packed) > len(raw)/10 {
						t.Errorf("%d bytes take %d: the base does not help", len(raw), len(packed))
					}
					opts := []zstd.DOption{}
					if len(base) > 0 {
						opts = append(opts, zstd.WithDecoderDictRaw(0, base))
					}
					dec, err := zstd.NewReader(nil, opts...)
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := dec.DecodeAll(packed, nil); err != nil || !bytes.Equal(got, raw) {
						t.Errorf("another decoder, %d bytes on %d: %d bytes, %v", len(raw), len(base), len(got), err)
					}
					dec.Close()
					if got, err := Unpack([]byte("before"), packed, base, TextMax); err != nil || string(got) != "before"+string(raw) {
						t.Errorf("Unpack, %d bytes on %d: %d bytes, %v", len(raw), len(base), len(got), err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	normal, raw := export(64<<10, 1)
	packed, err := Pack(raw, normal)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a decoder that failed spoils no other
		if _, err := Unpack(nil, packed, normal, len(raw)-1); err == nil {
			t.Error("more than most bytes opened")
		}
		if got, err := Unpack(nil, packed, append([]byte("/"), normal[:len(normal)/2]...), TextMax); err == nil && bytes.Equal(got, raw) {
			t.Error("the base plays no part")
		}
		if _, err := Unpack(nil, []byte("none"), nil, TextMax); err == nil {
			t.Error("what is no frame opened")
		}
		if got, err := Unpack(nil, packed, normal, len(raw)); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	bomb, err := Pack(make([]byte, TextMax+1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(nil, bomb, nil, TextMax); err == nil {
		t.Error("a text over TextMax opened")
	}
	if packed, err := Pack(nil, normal); err != nil || len(packed) > 16 {
		t.Errorf("nothing takes %d bytes, %v", len(packed), err)
	}
}

func BenchmarkPack(b *testing.B) {
	for _, size := range []int{10 << 10, 100 << 10, 500 << 10, 2 << 20} {
		normal, raw := export(size*2/3, 1)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			n := 0
			for b.Loop() {
				packed, err := Pack(raw, normal)
				if err != nil {
					b.Fatal(err)
				}
				n = len(packed)
			}
			b.ReportMetric(float64(n), "packed-B")
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	normal, raw := export(66<<10, 1)
	packed, err := Pack(raw, normal)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Unpack(make([]byte, 0, len(raw)), packed, normal, TextMax); err != nil {
			b.Fatal(err)
		}
	}
}
