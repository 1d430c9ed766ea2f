package routersim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"

	"golang.org/x/crypto/ssh"
)

const rsaBits = 2048

// hostKey derives a router's host key number generation: the same profile has the same keys in every process. An RSA key
// takes some tenths of a second to find.
func hostKey(p profile, generation int) ssh.Signer {
	var seed [32]byte
	material := binary.BigEndian.AppendUint64([]byte("host key "), p.seed)
	seed = sha256.Sum256(binary.BigEndian.AppendUint64(material, uint64(generation)))
	if !p.before710() {
		s, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
		if err != nil {
			panic(err) // every ed25519 key makes a signer
		}
		return s
	}
	s, err := ssh.NewSignerFromKey(rsaKey(rand.NewChaCha8(seed)))
	if err != nil {
		panic(err) // every valid RSA key makes a signer
	}
	limited, err := ssh.NewSignerWithAlgorithms(s.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA})
	if err != nil {
		panic(err) // both are algorithms of an RSA key
	}
	return limited
}

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

// prime draws a prime whose two highest bits are set, so that the product of two has the full length.
func prime(stream *rand.ChaCha8, bits int) *big.Int {
	b := make([]byte, bits/8)
	if _, err := stream.Read(b); err != nil {
		panic(fmt.Sprint("routersim: a ChaCha8 stream never ends: ", err))
	}
	b[0] |= 0xC0
	b[len(b)-1] |= 1
	n, two := new(big.Int).SetBytes(b), big.NewInt(2)
	for !n.ProbablyPrime(4) {
		n.Add(n, two)
	}
	return n
}
