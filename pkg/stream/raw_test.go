package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/delta"
)

// export makes a text of about size bytes, and its normal form.
func export(size int) (raw []byte, normal string) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "add address=10.%d.%d.%d list=blocked comment=%x\n", rnd.IntN(256), rnd.IntN(256), rnd.IntN(256), rnd.Uint64())
	}
	normal = "/ip firewall address-list\n" + b.String()
	return []byte("# 2026-01-02 03:04:05 by RouterOS 7.20\n" + strings.Replace(normal, " list=blocked", " \\\n    list=blocked", size/1000)), normal
}

func TestRawOpensWithPlainDecoder(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 64 << 10, 1 << 20, 12 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			raw, normal := export(size)
			packed, err := delta.Pack(raw, []byte(normal))
			if err != nil {
				t.Fatal(err)
			}
			if size >= 1<<20 && len(packed) > len(raw)/20 {
				t.Errorf("%d bytes of raw text take %d: the dictionary does not help", len(raw), len(packed))
			}
			dec, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(0, []byte(normal)))
			if err != nil {
				t.Fatal(err)
			}
			defer dec.Close()
			if got, err := dec.DecodeAll(packed, nil); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("a decoder as the comment shows it: %d bytes, %v", len(got), err)
			}
			got, err := OpenRaw(backup.Snapshot{ConfigText: normal, RawZstd: packed})
			if err != nil || !bytes.Equal(got, raw) {
				t.Errorf("OpenRaw: %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestRawEdges(t *testing.T) {
	t.Parallel()
	packed, err := delta.Pack([]byte("text"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenRaw(backup.Snapshot{RawZstd: packed}); err != nil || string(got) != "text" {
		t.Errorf("without a dictionary: %q, %v", got, err)
	}
	if _, err := OpenRaw(backup.Snapshot{}); err == nil {
		t.Error("a snapshot without raw text opened")
	}
	bomb, err := delta.Pack(make([]byte, RawMax+1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRaw(backup.Snapshot{RawZstd: bomb}); err == nil {
		t.Error("a text over RawMax opened")
	}
	raw, normal := export(64 << 10)
	if packed, err = delta.Pack(raw, []byte(normal)); err != nil {
		t.Fatal(err)
	}
	if got, err := OpenRaw(backup.Snapshot{RawZstd: packed, ConfigText: "/" + normal[1:len(normal)/2]}); err == nil && bytes.Equal(got, raw) {
		t.Error("the dictionary plays no part")
	}
}
