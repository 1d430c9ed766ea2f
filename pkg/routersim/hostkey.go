package routersim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"sync"

	"golang.org/x/crypto/ssh"
)

const rsaBits = 2048

// dsaType is the type of a DSA host key, which the SSH library has no longer.
const dsaType = "ssh-dss"

// hostKey derives a router's host key number generation: the same seed has the same keys in every process. An RSA key
// takes some tenths of a second to find.
func hostKey(seed uint64, generation int, keyType string) ssh.Signer {
	material := binary.BigEndian.AppendUint64([]byte("host key "), seed)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(material, uint64(generation)))
	var key any = ed25519.NewKeyFromSeed(sum[:])
	switch keyType {
	case dsaType:
		return dsaSigner{sum}
	case ssh.KeyAlgoRSA:
		key = rsaKey(rand.NewChaCha8(sum))
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		panic(err) // every valid key makes a signer
	}
	return s
}

// limited is the key with the algorithms of the era, where there is a choice.
func limited(s ssh.Signer, e Era) ssh.Signer {
	if s.PublicKey().Type() != ssh.KeyAlgoRSA {
		return s
	}
	l, err := ssh.NewSignerWithAlgorithms(s.(ssh.AlgorithmSigner), e.hostKeyAlgorithms())
	if err != nil {
		panic(err) // all are algorithms of an RSA key
	}
	return l
}

// dsaSigner names itself a DSA key and is none: a client of today gives up before it would have to sign.
type dsaSigner struct{ seed [sha256.Size]byte }

func (s dsaSigner) PublicKey() ssh.PublicKey { return dsaKey(s) }

func (s dsaSigner) Sign(io.Reader, []byte) (*ssh.Signature, error) { return nil, errNoDSA }

type dsaKey struct{ seed [sha256.Size]byte }

var errNoDSA = errors.New("DSA is not simulated further than its name")

func (k dsaKey) Type() string { return dsaType }

func (k dsaKey) Marshal() []byte {
	return ssh.Marshal(struct{ Type, Seed string }{dsaType, string(k.seed[:])})
}

func (k dsaKey) Verify([]byte, *ssh.Signature) error { return errNoDSA }

// rsaKey finds a key in a stream of numbers. rsa.GenerateKey draws its own randomness, so no seed could steer it.
func rsaKey(stream *rand.ChaCha8) *rsa.PrivateKey {
	one, e := big.NewInt(1), big.NewInt(65537)
	for {
		p, q := prime(stream, rsaBits/2), prime(stream, rsaBits/2)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, phi)
		if d == nil {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		if key.Validate() == nil {
			return key
		}
	}
}

// smallPrimes are the odd ones below a bound at which a further one spares less than it costs.
var smallPrimes = sync.OnceValue(func() (out []uint32) {
	const bound = 1 << 14
	var composite [bound]bool
	for n := uint32(3); n < bound; n += 2 {
		if composite[n] {
			continue
		}
		out = append(out, n)
		for m := n * n; m < bound; m += 2 * n {
			composite[m] = true
		}
	}
	return out
})

// prime draws a prime whose two highest bits are set, so that the product of two has the full length.
func prime(stream *rand.ChaCha8, bits int) *big.Int {
	b := make([]byte, bits/8)
	if _, err := stream.Read(b); err != nil {
		panic(fmt.Sprint("routersim: a ChaCha8 stream never ends: ", err))
	}
	b[0] |= 0xC0
	b[len(b)-1] |= 1
	n, two := new(big.Int).SetBytes(b), big.NewInt(2)
	rests := make([]uint32, len(smallPrimes())) // of n, each by its small prime: all but a few candidates fall by these
	for i, p := range smallPrimes() {
		rests[i] = uint32(new(big.Int).Mod(n, big.NewInt(int64(p))).Uint64())
	}
	for ; ; n.Add(n, two) {
		divides := false
		for i, p := range smallPrimes() {
			divides = divides || rests[i] == 0
			if rests[i] += 2; rests[i] >= p {
				rests[i] -= p
			}
		}
		if !divides && n.ProbablyPrime(4) {
			return n
		}
	}
}
