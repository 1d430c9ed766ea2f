package sshclient

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient/sshtest"
)

// servers are the real ones.
var servers = []struct {
	name  string
	start func(testing.TB, sshtest.Options) *sshtest.Server
}{{"sshd", sshtest.SSHD}, {"dropbear", sshtest.Dropbear}}

// at starts a server and gives the target that opens it.
func at(t *testing.T, start func(testing.TB, sshtest.Options) *sshtest.Server, o sshtest.Options) (*sshtest.Server, Target) {
	t.Helper()
	private, public := sshtest.Key(t)
	o.AuthorizedKey = public
	s := start(t, o)
	return s, Target{Address: s.Address, Port: s.Port, Username: s.User, PrivateKey: secret.New(private)}
}

func TestServersExec(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, target := at(t, tt.start, sshtest.Options{ForcedCommand: `cat export.rsc; echo "$SSH_ORIGINAL_COMMAND" | sed 's/.*:put "\(.*\)"/\1/'`})
			export := filler(5 << 20)
			if err := os.WriteFile(filepath.Join(s.Dir, "export.rsc"), export, 0o600); err != nil {
				t.Fatal(err)
			}
			c := open(t, target)
			if got := c.HostKey().Fingerprint; got != s.HostKeyFingerprint {
				t.Errorf("host key %s, want %s", got, s.HostKeyFingerprint)
			}
			if old := c.Legacy(); old != nil {
				t.Errorf("legacy = %q", old)
			}
			for range 2 {
				out, err := c.Exec(t.Context(), `/export show-sensitive; :put "marker-4711"`, nil, 0)
				if err != nil || !bytes.Equal(out, slices.Concat(export, []byte("marker-4711\n"))) {
					t.Fatalf("%d bytes, error %v", len(out), err)
				}
			}
			if got := s.Connections(); got != 1 {
				t.Errorf("%d connections, want 1", got)
			}
		})
	}
}

func TestServersRefuseOtherKeys(t *testing.T) {
	t.Parallel()
	for _, tt := range servers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, target := at(t, tt.start, sshtest.Options{})
			target.PrivateKey = pemOf(otherKey())
			_, err := Dial(t.Context(), target, nil)
			wantFault(t, err, fault.Auth, "by publickey: refused")
		})
	}
}
