package sshclient

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/sshclient/sshtest"
)

// only signs with a single algorithm, as old routers do.
func only(t *testing.T, algorithm string) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerWithAlgorithms(signer(rsaKey()).(ssh.AlgorithmSigner), []string{algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEras is the table of what RouterOS releases offer (the library's server cannot offer what no client of today takes,
// such as blowfish-cbc, hmac-md5 and ssh-dss; it adds nothing that a router would be asked for).
func TestEras(t *testing.T) {
	t.Parallel()
	ctr := []string{"aes128-ctr", "aes192-ctr", "aes256-ctr"}
	for _, tt := range []struct {
		name    string
		config  ssh.Config
		hostKey ssh.Signer
		legacy  []string
	}{
		{"v6.40", ssh.Config{KeyExchanges: []string{"diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"}, Ciphers: slices.Concat(ctr, []string{"aes128-cbc", "3des-cbc"}),
			MACs: []string{"hmac-sha1", "hmac-sha1-96"}}, only(t, "ssh-rsa"),
			[]string{"key exchange diffie-hellman-group14-sha1", "host key signature ssh-rsa", "MAC hmac-sha1"}},
		{"v6.4x", ssh.Config{KeyExchanges: []string{"diffie-hellman-group-exchange-sha256", "diffie-hellman-group-exchange-sha1", "diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"},
			Ciphers: ctr, MACs: []string{"hmac-sha1"}}, only(t, "rsa-sha2-256"),
			[]string{"key exchange diffie-hellman-group14-sha1", "MAC hmac-sha1"}},
		{"strong-crypto", ssh.Config{KeyExchanges: []string{"diffie-hellman-group-exchange-sha256"}, Ciphers: ctr[1:], MACs: []string{"hmac-sha2-256"}},
			only(t, "rsa-sha2-256"), nil},
		{"v7.7 and later", ssh.Config{KeyExchanges: []string{"curve25519-sha256", "diffie-hellman-group14-sha1"}, Ciphers: ctr, MACs: []string{"hmac-sha2-256", "hmac-sha1"}},
			signer(ed25519Key()), nil},
		{"the oldest", ssh.Config{KeyExchanges: []string{"diffie-hellman-group1-sha1"}, Ciphers: []string{"3des-cbc"}, MACs: []string{"hmac-sha1-96"}}, only(t, "ssh-rsa"),
			[]string{"key exchange diffie-hellman-group1-sha1", "host key signature ssh-rsa", "cipher 3des-cbc", "MAC hmac-sha1-96"}},
		{"SHA-1 in the exchange of groups", ssh.Config{KeyExchanges: []string{"diffie-hellman-group-exchange-sha1"}, Ciphers: []string{"aes128-cbc"}, MACs: []string{"hmac-sha2-256"}},
			signer(ed25519Key()), []string{"key exchange diffie-hellman-group-exchange-sha1", "cipher aes128-cbc"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, key := range []any{nil, rsaKey(), ed25519Key()} {
				r := &router{config: ssh.ServerConfig{Config: tt.config}, hostKeys: []ssh.Signer{tt.hostKey}}
				if key != nil {
					r.config.PublicKeyAuthAlgorithms = []string{"ssh-rsa", "ssh-ed25519"}
					r.config.PublicKeyCallback = func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
						if string(k.Marshal()) == string(signer(key).PublicKey().Marshal()) {
							return nil, nil
						}
						return nil, errors.New("unknown key")
					}
				}
				target := r.start(t)
				if key != nil {
					target.PrivateKey = pemOf(key)
				}
				c := open(t, target)
				if got := c.Legacy(); !slices.Equal(got, tt.legacy) {
					t.Errorf("legacy = %q, want %q", got, tt.legacy)
				}
				if out, err := c.Exec(t.Context(), "/export", nil, 0); err != nil || string(out) != "/export\r\n" {
					t.Errorf("output %q, error %v", out, err)
				}
			}
		})
	}
}

// TestErasOfSSHD has the other side's algorithms from OpenSSH, whose SHA-1, CBC and group exchange are not the library's.
func TestErasOfSSHD(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config string
		legacy []string
	}{
		{"KexAlgorithms diffie-hellman-group-exchange-sha256\nCiphers aes192-ctr,aes256-ctr\nMACs hmac-sha2-256", nil},
		{"KexAlgorithms diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1\nCiphers aes128-ctr\nMACs hmac-sha1",
			[]string{"key exchange diffie-hellman-group14-sha1", "MAC hmac-sha1"}},
		{"KexAlgorithms diffie-hellman-group-exchange-sha1\nCiphers aes128-cbc\nMACs hmac-sha2-256",
			[]string{"key exchange diffie-hellman-group-exchange-sha1", "cipher aes128-cbc"}},
		{"KexAlgorithms diffie-hellman-group1-sha1\nCiphers 3des-cbc\nMACs hmac-sha1-96",
			[]string{"key exchange diffie-hellman-group1-sha1", "cipher 3des-cbc", "MAC hmac-sha1-96"}},
	} {
		t.Run(tt.config, func(t *testing.T) {
			t.Parallel()
			_, target := at(t, sshtest.SSHD, sshtest.Options{Config: tt.config})
			c := open(t, target)
			if got := c.Legacy(); !slices.Equal(got, tt.legacy) {
				t.Errorf("legacy = %q, want %q", got, tt.legacy)
			}
			if out, err := c.Exec(t.Context(), "echo whole", nil, 0); err != nil || string(out) != "whole\n" {
				t.Errorf("output %q, error %v", out, err)
			}
		})
	}
}

// offering answers with the lists of a router that shares nothing with us. They are in the order of RFC 4253, 7.1.
func offering(lists [8]string) *router {
	return &router{conn: func(c net.Conn, _ <-chan struct{}) {
		payload := append([]byte{20}, make([]byte, 16)...)
		for _, l := range append(lists[:], "", "") {
			payload = append(binary.BigEndian.AppendUint32(payload, uint32(len(l))), l...)
		}
		payload = append(payload, make([]byte, 5)...)
		padding := 8 - (5+len(payload))%8
		if padding < 4 {
			padding += 8
		}
		packet := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
		packet = append(append(append(packet, byte(padding)), payload...), make([]byte, padding)...)
		_, _ = c.Write(append([]byte("SSH-2.0-ROSSSH\r\n"), packet...))
		for err := error(nil); err == nil; {
			_, err = c.Read(make([]byte, 4096))
		}
	}}
}

func TestDialNegotiationFault(t *testing.T) {
	t.Parallel()
	const kex, key, cipher, mac, none = "diffie-hellman-group14-sha1", "ssh-rsa", "aes128-ctr", "hmac-sha1", "none"
	for _, tt := range []struct {
		name  string
		lists [8]string
		words []string
	}{
		{"key exchange", [8]string{"gost", key, cipher, cipher, mac, mac, none, none}, []string{"for key exchange", `offers "gost"`, "strong-crypto=yes"}},
		{"DSA", [8]string{kex, "ssh-dss", cipher, cipher, mac, mac, none, none}, []string{"for host key", `offers "ssh-dss"`, "only a DSA host key", "6.33"}},
		{"cipher", [8]string{kex, key, "blowfish-cbc,none", "blowfish-cbc,none", mac, mac, none, none}, []string{"cipher", `offers "blowfish-cbc none"`, "ciphers=auto"}},
		{"MD5", [8]string{kex, key, cipher, cipher, "hmac-md5,hmac-md5-96", "hmac-md5", none, none}, []string{"MAC", `offers "hmac-md5 hmac-md5-96"`, "made of MD5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Dial(t.Context(), offering(tt.lists).start(t), nil)
			wantFault(t, err, fault.Negotiation, append(tt.words, "handshake: ")...)
		})
	}
}
