package collect

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/pacetest"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient/sshtest"
)

// printExport is a forced command that answers as a router does: it prints a file, and then what :put asks for.
const printExport = `cat export.rsc; echo "$SSH_ORIGINAL_COMMAND" | sed -n 's/.*:put "\(.*\)"/\1/p'`

// TestCollectFromServers collects from SSH servers that are not ours, alone and behind each other.
func TestCollectFromServers(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, pacetest.Fewer(2<<20), routersim.NoFault)
	text := r.Export()
	private, public := sshtest.Key(t)
	credential := secret.Credential{PrivateKey: secret.New(private), Version: "v"}
	for _, server := range []struct {
		name  string
		start func(testing.TB, sshtest.Options) *sshtest.Server
	}{{"sshd", sshtest.SSHD}, {"dropbear", sshtest.Dropbear}} {
		for _, tt := range []struct {
			name, text string
			jump       bool
			kind       fault.Kind
		}{
			{name: "whole", text: text},
			{name: "through a jump host", text: text, jump: true},
			{name: "cut", text: text[:len(text)/2], kind: fault.Incomplete},
			{name: "an error text", text: "bad command name export (line 1 column 2)\r\n", kind: fault.Rejected},
		} {
			t.Run(server.name+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				s := server.start(t, sshtest.Options{AuthorizedKey: public, ForcedCommand: printExport})
				if err := os.WriteFile(filepath.Join(s.Dir, "export.rsc"), []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
				var keys []string
				order := orderFor(r)
				order.Device.Address, order.Device.Port, order.Credential = s.Address, s.Port, credential
				order.Credential.Username = s.User
				order.Trust = func(_ context.Context, k device.HostKey) error { keys = append(keys, k.Fingerprint); return nil }
				want := s.HostKeyFingerprint
				if tt.jump {
					bastion := server.start(t, sshtest.Options{AuthorizedKey: public})
					want = bastion.HostKeyFingerprint + " " + want
					jump := device.Jump{ID: "bastion", Site: device.DefaultSite, Address: bastion.Address, Port: bastion.Port}
					order.Jumps = []backup.Hop{{Jump: jump, Credential: order.Credential, Trust: order.Trust}}
				}
				e, err := collectOnce(t, Options{}, order)
				wantFault(t, err, tt.kind)
				if err == nil {
					wantExport(t, e, r)
				}
				if got := strings.Join(keys, " "); got != want {
					t.Errorf("host keys %s, want %s", got, want)
				}
				if len(e.Legacy) > 0 {
					t.Errorf("outdated: %q", e.Legacy)
				}
			})
		}
	}
}
