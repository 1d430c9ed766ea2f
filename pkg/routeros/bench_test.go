package routeros

import (
	"fmt"
	"testing"
)

var sizes = []struct {
	name  string
	bytes int
}{{"10KB", 10_000}, {"100KB", 100_000}, {"2MB", 2_000_000}}

// big makes an export of about size bytes at 79 columns.
func big(size int) []byte {
	out := []byte(header + "/ip firewall address-list\n")
	for i := 0; len(out) < size; i++ {
		out = fmt.Appendf(out, "add address=10.%d.%d.%d comment=\"customer %d, delivered by the wholesaler of t\\\n    he region\" list=customers\n",
			i>>16&255, i>>8&255, i&255, i)
		if i%50 == 0 {
			out = append(out, "# inactive time\n"...)
		}
	}
	return append(out, "/system identity\nset name=core\n"...)
}

// bench runs work on the output of a router at each size.
func bench(b *testing.B, work func(b *testing.B, output, dst []byte) []byte) {
	for _, size := range sizes {
		output := crlf(append(big(size.bytes), marker+"\n"...))
		b.Run(size.name, func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(len(output)))
			b.ReportAllocs()
			for b.Loop() {
				dst = work(b, output, dst[:0])
			}
		})
	}
}

func benchProve(b *testing.B, output, dst []byte) []byte {
	v := Prove(dst, output, marker, Want{}, nil)
	if !v.Complete {
		b.Fatal(v.Reason)
	}
	return v.Normal
}

func BenchmarkProve(b *testing.B) { bench(b, benchProve) }

func BenchmarkNormalize(b *testing.B) {
	bench(b, func(_ *testing.B, output, dst []byte) []byte { return Normalize(dst, output) })
}

func BenchmarkDigest(b *testing.B) {
	bench(b, func(_ *testing.B, output, dst []byte) []byte {
		Digest(output)
		return dst
	})
}

// BenchmarkTogether is what a worker computes for each export.
func BenchmarkTogether(b *testing.B) {
	bench(b, func(b *testing.B, output, dst []byte) []byte {
		dst = benchProve(b, output, dst)
		Digest(dst)
		return dst
	})
}

// BenchmarkSecrets proves what costs the count of secrets most: menus that may have some, and one with a secret in each line.
func BenchmarkSecrets(b *testing.B) {
	for _, c := range []struct{ name, menu, line string }{
		{"none", "/ip firewall address-list", "add address=10.0.0.1 comment=\"a customer of the wholesaler\" disabled=no \\\n    list=%d\n"},
		{"perhaps", "/routing bgp connection", "add address=10.0.0.1 comment=\"a customer of the wholesaler\" disabled=no \\\n    list=%d\n"},
		{"each", "/ppp secret", "add address=10.0.0.1 comment=\"a customer of the wholesaler\" name=a password=\\\n    %d\n"},
	} {
		text := []byte(header + c.menu + "\n")
		for i := range 20_000 {
			text = fmt.Appendf(text, c.line, i)
		}
		text = crlf(append(text, marker+"\n"...))
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = benchProve(b, text, dst[:0])
			}
		})
	}
}
