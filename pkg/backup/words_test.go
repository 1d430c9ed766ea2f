package backup

import (
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

func TestStaleAfter(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ own, usual, want time.Duration }{
		{0, 6 * time.Hour, StaleDefault},
		{0, 48 * time.Hour, 50 * time.Hour},
		{7 * 24 * time.Hour, 6 * time.Hour, 170 * time.Hour},
		{time.Hour, 48 * time.Hour, StaleDefault},
	} {
		if got := StaleAfter(tc.own, tc.usual); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

// TestAdvice: who reads why a device is not backed up gets the command for that device.
func TestAdvice(t *testing.T) {
	t.Parallel()
	changed := &Block{Kind: fault.HostKey, Reason: "use confhaul hostkey accept DEVICE", HostKey: &device.HostKey{Fingerprint: "SHA256:abc"}}
	for name, tc := range map[string]struct {
		state           State
		reason, command string
	}{
		"never attempted":  {State{}, "", ""},
		"well":             {State{Result: ResultUnchanged, Reason: "left over"}, "", ""},
		"login refused":    {State{Result: ResultBlocked, Block: &Block{Kind: fault.Auth, Reason: "refused"}}, "refused", "confhaul unblock edge-7"},
		"host key changed": {State{Block: changed}, "use confhaul hostkey accept edge-7", "confhaul hostkey accept edge-7 SHA256:abc"},
		"cut":              {State{Result: ResultFailed, Kind: fault.Incomplete, Reason: "cut"}, "cut", "confhaul show edge-7 --suspect"},
		"down":             {State{Result: ResultFailed, Kind: fault.Timeout, Reason: "dial"}, "dial", "confhaul backup edge-7 --wait"},
	} {
		if reason, command := tc.state.Advice("edge-7"); reason != tc.reason || command != tc.command {
			t.Errorf("%s: %q, %q", name, reason, command)
		}
	}
}

func TestWordsOfBreaker(t *testing.T) {
	t.Parallel()
	b := Breaker{Credential: "fleet", Refusals: []string{device.Key("riga", "r:1")}}
	if text := b.Words(); !strings.HasPrefix(text, "1 device refused it") || !strings.Contains(text, "(r:1)") {
		t.Error(text)
	}
}
