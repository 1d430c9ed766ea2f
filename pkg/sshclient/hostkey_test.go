package sshclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

func TestDialHostKey(t *testing.T) {
	t.Parallel()
	keyRSA, keyEd, other := signer(rsaKey()), signer(ed25519Key()), signer(otherKey())
	keyEC := signer(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)))
	both := []ssh.Signer{keyRSA, keyEd}
	tests := []struct {
		name  string
		has   []ssh.Signer
		known *device.HostKey
		want  ssh.Signer // nil: refused
		shown ssh.Signer
	}{
		{"unknown, one key", []ssh.Signer{keyRSA}, nil, keyRSA, nil},
		{"unknown, two keys", both, nil, keyEd, nil},
		{"known, and the less preferred of two", both, new(hostKeyOf(keyRSA)), keyRSA, nil},
		{"known, and the least preferred of three", append(both, keyEC), new(hostKeyOf(keyEC)), keyEC, nil},
		{"known by fingerprint alone", both, &device.HostKey{Type: keyRSA.PublicKey().Type(), Fingerprint: ssh.FingerprintSHA256(keyRSA.PublicKey())}, keyRSA, nil},
		{"changed, same type", []ssh.Signer{keyEd}, new(hostKeyOf(other)), nil, keyEd},
		{"changed, other type", []ssh.Signer{keyRSA}, new(hostKeyOf(other)), nil, keyRSA},
		{"on record a type nobody uses", []ssh.Signer{keyRSA}, &device.HostKey{Type: "ssh-dss", Fingerprint: "SHA256:old"}, nil, keyRSA},
		{"known by fingerprint without type", []ssh.Signer{keyEd}, &device.HostKey{Fingerprint: ssh.FingerprintSHA256(keyEd.PublicKey())}, keyEd, nil},
		{"fingerprint without type differs", []ssh.Signer{keyEd}, &device.HostKey{Fingerprint: "SHA256:old"}, nil, keyEd},
		{"fingerprint differs", []ssh.Signer{keyRSA}, &device.HostKey{Type: ssh.KeyAlgoRSA, Fingerprint: "SHA256:old"}, nil, keyRSA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Bool
			r := &router{hostKeys: tt.has}
			r.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
				asked.Store(true)
				return nil, nil
			}
			target := r.start(t)
			target.HostKey = tt.known
			if tt.want == nil {
				_, err := Dial(t.Context(), target, nil)
				wantFault(t, err, fault.HostKey, tt.known.Fingerprint, ssh.FingerprintSHA256(tt.shown.PublicKey()), "confhaul hostkey accept DEVICE")
				wrong, ok := errors.AsType[*HostKeyError](err)
				if !ok {
					t.Fatalf("no HostKeyError in %v", err)
				}
				if wrong.Known.Fingerprint != tt.known.Fingerprint || wrong.Seen.SeenAt.IsZero() || wrong.Seen.Source != device.HostKeyFirstUse ||
					!sameKey(hostKeyOf(tt.shown), wrong.Seen) || wrong.Seen.Type != tt.shown.PublicKey().Type() {
					t.Errorf("known %+v, seen %+v", wrong.Known, wrong.Seen)
				}
				if strings.HasPrefix(wrong.Error(), "handshake: ") || strings.Contains(err.Error(), "  ") {
					t.Errorf("text: %v", err)
				}
				if asked.Load() {
					t.Error("the password was sent to a router with a wrong key")
				}
				return
			}
			got := open(t, target).HostKey()
			if want := hostKeyOf(tt.want); got.Fingerprint != want.Fingerprint || string(got.Key) != string(want.Key) || got.Type != want.Type || got.Source != device.HostKeyFirstUse || got.SeenAt.IsZero() {
				t.Errorf("host key = %+v, want %+v", got, want)
			}
		})
	}
}

func TestDialSurvivesKeyRenewal(t *testing.T) {
	t.Parallel()
	const size = 8 << 20 // several windows, so that renewals fall into the export
	r := &router{}
	r.config.RekeyThreshold = 64 << 10
	r.exec = func(_ string, s *serverSession) {
		_, _ = s.Write(filler(size))
		s.exit(0)
	}
	c := open(t, r.start(t))
	out, err := c.Exec(t.Context(), "/export", nil, 0)
	if err != nil || len(out) != size {
		t.Fatalf("%d bytes, error %v", len(out), err)
	}
	if c.watch.timer != nil {
		t.Error("the login's deadline runs on after the login")
	}
}
