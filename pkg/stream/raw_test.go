package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/confhaul/confhaul/pkg/backup"
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

func TestRaw(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 64 << 10, 12 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			raw, _ := export(size)
			if got, err := OpenRaw(backup.Snapshot{RawSnappy: s2.EncodeSnappy(nil, raw)}); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	packed := s2.EncodeSnappy(nil, []byte("# text\n"))
	for name, broken := range map[string][]byte{
		"none": nil, "cut": packed[:len(packed)-1], "too long": s2.EncodeSnappy(nil, make([]byte, RawMax+1)), "declares 4 GB": {0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00},
	} {
		if got, err := OpenRaw(backup.Snapshot{RawSnappy: broken}); err == nil {
			t.Errorf("%s: opened as %d bytes", name, len(got))
		}
	}
}
