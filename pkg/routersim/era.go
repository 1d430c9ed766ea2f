package routersim

import (
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"
)

// Era names a set of SSH algorithms that RouterOS offers in some release or setting.
type Era string

// The eras.
const (
	EraDefault Era = ""       // what the router's release offers
	EraDSA     Era = "dsa"    // up to 6.32: an ssh-dss host key
	EraGroup1  Era = "group1" // diffie-hellman-group1-sha1, CBC, hmac-sha1, ssh-rsa
	EraSHA1    Era = "sha1"   // 6.40: group14-sha1, CTR, hmac-sha1, ssh-rsa; user keys sign with SHA-1 only
	EraCBC     Era = "cbc"    // the release's, but aes128-cbc is the only cipher
	Era3DES    Era = "3des"   // the release's, but 3des-cbc is the only cipher
	EraMD5     Era = "md5"    // the release's, but hmac-md5 is the only MAC, and none of Go's
	EraStrong  Era = "strong" // strong-crypto=yes: group-exchange-sha256, aes192-ctr, aes256-ctr, hmac-sha2-256
	EraModern  Era = "modern" // curve25519, GCM, an ed25519 host key
)

// Eras lists every era, EraDefault first.
func Eras() []Era {
	return []Era{EraDefault, EraDSA, EraGroup1, EraSHA1, EraCBC, Era3DES, EraMD5, EraStrong, EraModern}
}

// SetEra sets what the router offers to the next client. The host key's type follows, and so may the host key: EraDSA,
// EraGroup1, EraSHA1 and EraModern have one type each, the others that of the release.
func (r *Router) SetEra(e Era) error {
	if !slices.Contains(Eras(), e) {
		return fmt.Errorf("set era of %s: %q is none: use one of %q", r.ID(), e, Eras())
	}
	r.order(func(h *habits) { h.era = e })
	return nil
}

// algorithms is what the era offers on this release.
func (e Era) algorithms(p profile) ssh.Config {
	ctr := []string{ssh.CipherAES128CTR, ssh.CipherAES192CTR, ssh.CipherAES256CTR}
	cbc := []string{ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC}
	sha1 := []string{ssh.HMACSHA1}
	c := ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeDH14SHA256, ssh.KeyExchangeDHGEXSHA256, ssh.InsecureKeyExchangeDH14SHA1},
		Ciphers:      ctr,
		MACs:         []string{ssh.HMACSHA256, ssh.HMACSHA1},
	}
	if p.v6() {
		c.KeyExchanges, c.MACs = []string{ssh.KeyExchangeDHGEXSHA256, ssh.InsecureKeyExchangeDH14SHA1}, sha1
	}
	switch e {
	case EraDSA:
		c = ssh.Config{KeyExchanges: []string{ssh.InsecureKeyExchangeDH14SHA1, ssh.InsecureKeyExchangeDH1SHA1}, Ciphers: cbc, MACs: sha1}
	case EraGroup1:
		c = ssh.Config{KeyExchanges: []string{ssh.InsecureKeyExchangeDH1SHA1}, Ciphers: cbc, MACs: sha1}
	case EraSHA1:
		c = ssh.Config{KeyExchanges: []string{ssh.InsecureKeyExchangeDH14SHA1}, Ciphers: ctr, MACs: sha1}
	case EraCBC:
		c.Ciphers = cbc[:1]
	case Era3DES:
		c.Ciphers = cbc[1:]
	case EraMD5:
		c.MACs = sha1 // what md5Conn makes hmac-md5
	case EraStrong:
		c = ssh.Config{KeyExchanges: []string{ssh.KeyExchangeDHGEXSHA256}, Ciphers: ctr[1:], MACs: []string{ssh.HMACSHA256}}
	case EraModern:
		c = ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeCurve25519},
			Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM},
			MACs:         []string{ssh.HMACSHA256},
		}
	}
	return c
}

// keyType is the type of the host key.
func (e Era) keyType(p profile) string {
	switch {
	case e == EraDSA:
		return dsaType
	case e == EraModern, !p.before710() && !e.sha1():
		return ssh.KeyAlgoED25519
	}
	return ssh.KeyAlgoRSA
}

// sha1 says whether RSA keys sign with SHA-1 alone.
func (e Era) sha1() bool { return e == EraDSA || e == EraGroup1 || e == EraSHA1 }

// hostKeyAlgorithms is how an RSA host key signs.
func (e Era) hostKeyAlgorithms() []string {
	if e.sha1() {
		return []string{ssh.KeyAlgoRSA}
	}
	return []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
}

// userKeys is which public keys may log in, and with which signatures: ed25519 only from 7.12.
func (e Era) userKeys(p profile) []string {
	rsa := []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	switch {
	case e.sha1():
		return rsa[1:]
	case e == EraModern, !p.before710():
		return append(rsa, ssh.KeyAlgoED25519)
	}
	return rsa
}
