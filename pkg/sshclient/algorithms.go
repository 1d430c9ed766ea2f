package sshclient

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// The lists are ours because the library's defaults lack what RouterOS needs. They are in order of the client's cost,
// because a worker makes many short connections and the key exchange is most of each; what is outdated comes last.
var (
	// Elliptic curves cost a tenth of a finite-field exchange. The post-quantum exchange is left out: no RouterOS
	// offers it, and making its key costs more than the rest of the list's first entry.
	keyExchanges = []string{
		ssh.KeyExchangeCurve25519,
		ssh.KeyExchangeECDHP256,
		ssh.KeyExchangeECDHP384,
		ssh.KeyExchangeECDHP521,
		ssh.KeyExchangeDH14SHA256,
		ssh.KeyExchangeDH16SHA512,
		ssh.InsecureKeyExchangeDH14SHA1, // the best of many v6 routers
		ssh.InsecureKeyExchangeDH1SHA1,
		// Last, because with strong-crypto=no RouterOS is documented to use primes of 1024 bits here, which the library
		// refuses. With strong-crypto=yes it is all that the router offers, and the primes are large enough.
		ssh.KeyExchangeDHGEXSHA256,
		ssh.InsecureKeyExchangeDHGEXSHA1,
	}

	// With AES instructions GCM is cheapest, and needs no MAC.
	ciphers = []string{
		ssh.CipherAES128GCM,
		ssh.CipherAES256GCM,
		ssh.CipherChaCha20Poly1305,
		ssh.CipherAES128CTR,
		ssh.CipherAES192CTR,
		ssh.CipherAES256CTR,
		ssh.InsecureCipherAES128CBC, // routers configured for CBC alone
		ssh.InsecureCipherTripleDESCBC,
	}

	macs = []string{
		ssh.HMACSHA256ETM,
		ssh.HMACSHA512ETM,
		ssh.HMACSHA256,
		ssh.HMACSHA512,
		ssh.HMACSHA1, // all that v6 offers besides MD5
		ssh.InsecureHMACSHA196,
	}

	hostKeys = []string{
		ssh.KeyAlgoED25519,
		ssh.KeyAlgoECDSA256,
		ssh.KeyAlgoRSASHA512,
		ssh.KeyAlgoRSASHA256,
		ssh.KeyAlgoECDSA384,
		ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSA,
	}

	legacyKeyExchanges = []string{
		ssh.InsecureKeyExchangeDH14SHA1, ssh.InsecureKeyExchangeDH1SHA1, ssh.InsecureKeyExchangeDHGEXSHA1,
	}
	legacyMACs = []string{ssh.HMACSHA1, ssh.InsecureHMACSHA196}
)

// legacy names what is outdated among the agreed algorithms.
func legacy(a ssh.NegotiatedAlgorithms) []string {
	var found []string
	add := func(what, algorithm string) {
		if words := what + " " + algorithm; !slices.Contains(found, words) {
			found = append(found, words)
		}
	}
	if slices.Contains(legacyKeyExchanges, a.KeyExchange) {
		add("key exchange", a.KeyExchange)
	}
	if a.HostKey == ssh.KeyAlgoRSA { // in this place the name means a SHA-1 signature
		add("host key signature", a.HostKey)
	}
	for _, d := range []ssh.DirectionAlgorithms{a.Read, a.Write} {
		if strings.HasSuffix(d.Cipher, "-cbc") {
			add("cipher", d.Cipher)
		}
		if slices.Contains(legacyMACs, d.MAC) {
			add("MAC", d.MAC)
		}
	}
	return found
}

// hostKeyAlgorithms puts the algorithms of a known key's type first, so that a router with several keys shows the one
// on record. The others stay: a router whose key changed its type must be told from one with whom we share no algorithm.
func hostKeyAlgorithms(keyType string) []string {
	first := []string{keyType}
	if keyType == ssh.KeyAlgoRSA {
		first = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	first = slices.DeleteFunc(first, func(a string) bool { return !slices.Contains(hostKeys, a) })
	for _, a := range hostKeys {
		if !slices.Contains(first, a) {
			first = append(first, a)
		}
	}
	return first
}

func algorithmConfig() ssh.Config {
	return ssh.Config{
		KeyExchanges: slices.Clone(keyExchanges),
		Ciphers:      slices.Clone(ciphers),
		MACs:         slices.Clone(macs),
	}
}
