package routersim

import (
	"crypto/ed25519"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// willing is a client that offers everything the library has.
func willing() *ssh.ClientConfig {
	safe, old := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	c := password(testPassword)
	c.KeyExchanges = slices.Concat(safe.KeyExchanges, old.KeyExchanges)
	c.Ciphers = slices.Concat(safe.Ciphers, old.Ciphers)
	c.MACs = slices.Concat(safe.MACs, old.MACs)
	c.HostKeyAlgorithms = slices.Concat(safe.HostKeys, old.HostKeys)
	return c
}

func inEra(t *testing.T, version string, e Era) *Router {
	t.Helper()
	r := one(t, version)
	if err := r.SetEra(e); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEras checks what a willing client ends up with, or what the router says it has where they have nothing in common.
func TestEras(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"6.49.18", "7.20.2"} {
		for _, c := range []struct {
			era                      Era
			kex, cipher, mac, signed string // "": that of the release
			none                     string // the only algorithm of a kind
		}{
			{era: EraDefault},
			{era: EraDSA, none: "ssh-dss"},
			{era: EraGroup1, kex: ssh.InsecureKeyExchangeDH1SHA1, cipher: ssh.InsecureCipherAES128CBC, mac: ssh.HMACSHA1, signed: ssh.KeyAlgoRSA},
			{era: EraSHA1, kex: ssh.InsecureKeyExchangeDH14SHA1, cipher: ssh.CipherAES128CTR, mac: ssh.HMACSHA1, signed: ssh.KeyAlgoRSA},
			{era: EraCBC, cipher: ssh.InsecureCipherAES128CBC},
			{era: Era3DES, cipher: ssh.InsecureCipherTripleDESCBC},
			{era: EraMD5, none: "hmac-md5"},
			{era: EraStrong, kex: ssh.KeyExchangeDHGEXSHA256, cipher: ssh.CipherAES192CTR, mac: ssh.HMACSHA256},
			{era: EraModern, kex: ssh.KeyExchangeCurve25519, cipher: ssh.CipherAES128GCM, signed: ssh.KeyAlgoED25519},
		} {
			t.Run(version+string(c.era), func(t *testing.T) {
				t.Parallel()
				r := inEra(t, version, c.era)
				client, err := dial(t, r, willing())
				if c.none != "" {
					var e *ssh.AlgorithmNegotiationError
					if !errors.As(err, &e) || !slices.Equal(e.RequestedAlgorithms, []string{c.none}) {
						t.Errorf("want a router that offers %s alone, got %v", c.none, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				got := client.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
				for _, pair := range [][2]string{
					{c.kex, got.KeyExchange}, {c.cipher, got.Read.Cipher}, {c.mac, got.Read.MAC}, {c.signed, got.HostKey},
				} {
					if pair[0] != "" && pair[0] != pair[1] {
						t.Errorf("agreed on %+v, want %s", got, pair[0])
					}
				}
			})
		}
	}
	if err := one(t, "7.15.3").SetEra("bronze"); err == nil || !strings.Contains(err.Error(), "bronze") {
		t.Errorf("took an era that is none: %v", err)
	}
}

func TestEraKeepsHostKeyOfItsType(t *testing.T) {
	t.Parallel()
	r := one(t, "7.9.2")
	first := r.HostKeyFingerprint()
	for _, e := range Eras() {
		if err := r.SetEra(e); err != nil {
			t.Fatal(err)
		}
		var seen string
		c := willing()
		c.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error { seen = ssh.FingerprintSHA256(key); return nil }
		if _, err := dial(t, r, c); err == nil && seen != r.HostKeyFingerprint() {
			t.Errorf("%s: shows %s, says %s", e, seen, r.HostKeyFingerprint())
		}
		if same := r.HostKeyFingerprint() == first; same != (e != EraDSA && e != EraModern) {
			t.Errorf("%s: the host key is the first: %v", e, same)
		}
	}
	if err := r.SetEra(EraDefault); err != nil {
		t.Fatal(err)
	}
	if r.HostKeyFingerprint() != first {
		t.Error("the first host key is gone")
	}
}

// TestUserKeySignatures offers each key with each signature on its own.
func TestUserKeySignatures(t *testing.T) {
	t.Parallel()
	rsaSigner := hostKey(5, 0, ssh.KeyAlgoRSA).(ssh.AlgorithmSigner)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	edSigner, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		era                Era
		sha1, sha256, ed25 bool
	}{
		{EraDefault, true, true, true}, {EraSHA1, true, false, false}, {EraGroup1, true, false, false}, {EraModern, true, true, true},
	} {
		t.Run(string(c.era), func(t *testing.T) {
			t.Parallel()
			r := inEra(t, "7.15.3", c.era)
			for _, key := range []ssh.Signer{rsaSigner, edSigner} {
				if err := r.AuthorizeKey(string(ssh.MarshalAuthorizedKey(key.PublicKey()))); err != nil {
					t.Fatal(err)
				}
			}
			old, err := ssh.NewSignerWithAlgorithms(rsaSigner, []string{ssh.KeyAlgoRSA})
			if err != nil {
				t.Fatal(err)
			}
			newer, err := ssh.NewSignerWithAlgorithms(rsaSigner, []string{ssh.KeyAlgoRSASHA256})
			if err != nil {
				t.Fatal(err)
			}
			for name, way := range map[string]struct {
				signer ssh.Signer
				want   bool
			}{"ssh-rsa": {old, c.sha1}, "rsa-sha2-256": {newer, c.sha256}, "ed25519": {edSigner, c.ed25}} {
				config := willing()
				config.Auth = []ssh.AuthMethod{ssh.PublicKeys(way.signer)}
				if _, err := dial(t, r, config); (err == nil) != way.want {
					t.Errorf("%s: %v, want in: %v", name, err, way.want)
				}
			}
		})
	}
}
