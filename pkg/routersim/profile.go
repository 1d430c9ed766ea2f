package routersim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// Versions lists the simulated RouterOS releases.
func Versions() []string { return []string{"6.49.18", "7.9.2", "7.15.3", "7.20.2"} }

// newProfile draws router n of the fleet. Each router has a stream of its own, so that a larger fleet begins with the same.
func newProfile(o Options, n int) profile {
	p := profile{id: fmt.Sprintf("%s%04d", o.IDPrefix, n), n: n, site: o.Sites[(n-1)%len(o.Sites)], size: o.Size}
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(p.id), o.Seed)) // a hash never fails to write
	p.seed = h.Sum64()
	rng := rand.New(rand.NewPCG(p.seed, 0))
	p.version = drawVersion(rng.IntN(100))
	switch {
	case len(o.Versions) > 0:
		p.version = o.Versions[(n-1)%len(o.Versions)]
	case n == 1:
		p.version = "6.49.18"
	}
	p.padded = p.before710() && rng.IntN(4) == 0
	p.draw(rng)
	if p.size == 0 {
		p.size = drawSize(rng)
	}
	return p
}

func drawVersion(percent int) string {
	v := Versions()
	switch {
	case percent < 10:
		return v[0]
	case percent < 25:
		return v[1]
	case percent < 60:
		return v[2]
	}
	return v[3]
}

// draw sets the hardware: one in six of the newer routers is a CHR, which has neither model nor serial number.
func (p *profile) draw(rng *rand.Rand) {
	b := builder{rng: rng}
	p.license = b.text(4, base32Alphabet) + "-" + b.text(4, base32Alphabet)
	if !p.before710() && rng.IntN(6) == 0 {
		if p.version == "7.20.2" {
			p.license = b.text(11, base64Alphabet)
		}
		return
	}
	models := []string{"L009UiGS", "RB5009UG+S+", "C52iG-5HaxD2HaxD", "D53G-5HacD2HnD&EG120K-EA"}
	if p.before710() {
		models = []string{"RouterBOARD 3011UiAS", "951Ui-2HnD", "RB750Gr3", "CCR1036-8G-2S+"}
	}
	p.model = models[rng.IntN(len(models))]
	p.serial = b.text(12, "0123456789ABCDEF")
}

// drawSize follows what fleets have: small customer routers, and one in eight at an office or provider edge.
func drawSize(rng *rand.Rand) int {
	if rng.IntN(8) == 0 {
		return 20_000 + rng.IntN(100_000)
	}
	return min(rng.IntN(15_000), rng.IntN(15_000)) // the lower half is below what every router has anyway
}
