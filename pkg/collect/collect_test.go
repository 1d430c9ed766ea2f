package collect

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

// wantExport checks that e is all of what r is configured with.
func wantExport(t *testing.T, e backup.Export, r *routersim.Router) {
	t.Helper()
	if want := routeros.Normalize(nil, []byte(r.Export())); string(e.Normal) != string(want) {
		t.Fatalf("normal form of %d bytes differs from the router's, of %d", len(e.Normal), len(want))
	}
	sum := sha256.Sum256(e.Normal)
	if e.Digest != hex.EncodeToString(sum[:]) || e.Normalization != routeros.NormalizationVersion {
		t.Errorf("digest %q, normalization %d", e.Digest, e.Normalization)
	}
	if e.Version != r.Version() || e.Identity != r.Identity() {
		t.Errorf("version %q and identity %q, want %q and %q", e.Version, e.Identity, r.Version(), r.Identity())
	}
	if raw := string(e.Raw); !strings.HasPrefix(raw, "# ") || strings.Contains(raw, "confhaul-end") || !strings.HasSuffix(raw, "\n") {
		t.Errorf("raw text begins %.40q and ends %q", raw, raw[max(0, len(raw)-40):])
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	for _, version := range routersim.Versions() {
		for _, strong := range []bool{false, true} {
			for _, remembered := range []string{"", version} {
				t.Run(fmt.Sprintf("%s strong=%v remembered=%q", version, strong, remembered), func(t *testing.T) {
					t.Parallel()
					f, r := lone(t, version, 0, routersim.NoFault)
					r.SetStrongCrypto(strong)
					var steps []string
					order := orderFor(r)
					order.Version = remembered
					order.Trace = func(s backup.Step) { steps = append(steps, s.Name) }
					before := time.Now()
					e, err := New(Options{}).Collect(t.Context(), order)
					if err != nil {
						t.Fatal(err)
					}
					defer e.Release()
					wantExport(t, e, r)
					if e.Started.Before(before) || e.Started.After(time.Now()) {
						t.Errorf("started %s", e.Started)
					}
					want := []string{"dial", "handshake", "login", stepExport, stepProve, stepNormalize}
					if remembered == "" && version == v6 {
						want = slices.Insert(want, 3, stepExport, stepProve) // asked as 7 first
					}
					if !slices.Equal(steps, want) {
						t.Errorf("steps %q, want %q", steps, want)
					}
					if n := len(f.Sessions()); n != 1 {
						t.Errorf("%d connections, want 1", n)
					}
				})
			}
		}
	}
}

func TestCollectAsksAgainInTheRightForm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		is, remembered string
		hide           bool
		exports        int
	}{
		{v6, v7, false, 2},
		{v7, v6, false, 2},
		{v6, v6, true, 1},
		{v6, v7, true, 2},
		{v7, v7, true, 1},
		{v7, v6, true, 1},
	} {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			t.Parallel()
			f, r := lone(t, tt.is, 0, routersim.NoFault)
			var count exports
			order := orderFor(r)
			order.Version, order.Credential.Hide, order.Trace = tt.remembered, tt.hide, count.trace
			e, err := New(Options{}).Collect(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Release()
			if secrets := strings.Contains(string(e.Raw), "pw-"); secrets == tt.hide {
				t.Errorf("secrets shown: %v, hide: %v", secrets, tt.hide)
			}
			if count.count != tt.exports || len(f.Sessions()) != 1 {
				t.Errorf("%d exports on %d connections, want %d on 1", count.count, len(f.Sessions()), tt.exports)
			}
		})
	}
}

func TestCollectFaults(t *testing.T) {
	t.Parallel()
	const short = 200 * time.Millisecond
	tests := []struct {
		fault   routersim.Fault
		options Options
		kind    fault.Kind
		words   []string
		exports int // export commands that came to an end
	}{
		{fault: routersim.WrongPassword, kind: fault.Auth, words: []string{"login: ", "refused"}},
		{fault: routersim.Refused, kind: fault.Unreachable, words: []string{"dial: "}},
		{fault: routersim.SilentAfterAccept, options: Options{Timeouts: sshclient.Timeouts{Handshake: short}}, kind: fault.Timeout, words: []string{"handshake: no host key within 200ms"}},
		{fault: routersim.StallMidExport, options: Options{Timeouts: sshclient.Timeouts{Idle: short}}, kind: fault.Timeout, words: []string{"export: no further output within 200ms"}, exports: 1},
		{fault: routersim.CutMidExport, kind: fault.Incomplete, words: []string{"without the end marker", "twice on one connection"}, exports: 2},
		{fault: routersim.Interrupted, kind: fault.Incomplete, words: []string{"interrupted"}, exports: 2},
		{fault: routersim.ErrorExportingTimeout, kind: fault.Incomplete, words: []string{"/ip/upnp"}, exports: 1},
		{fault: routersim.StandingGap, kind: fault.Incomplete, words: []string{"mode-button"}, exports: 1},
		{fault: routersim.ErrorText, kind: fault.Permission, words: []string{"policy"}, exports: 1},
		{fault: routersim.Huge, options: Options{MaxExport: 1 << 20}, kind: fault.TooLarge, words: []string{"1048576 bytes"}, exports: 1},
		{fault: routersim.Huge, exports: 1},
		{fault: routersim.Huge, options: Options{Budget: 1 << 20}, kind: fault.Infrastructure, words: []string{"may have 1048576"}, exports: 1},
		{fault: routersim.Slow, options: Options{Whole: 2 * time.Second}, kind: fault.Timeout, words: []string{"whole backup: not finished within 2s"}, exports: 1},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %s", tt.fault, tt.kind), func(t *testing.T) {
			t.Parallel()
			f, r := lone(t, v7, 20_000, tt.fault)
			var count exports
			order := orderFor(r)
			order.Trace = count.trace
			c := New(tt.options)
			e, err := c.Collect(t.Context(), order)
			wantFault(t, err, tt.kind, tt.words...)
			if err != nil && (e.Normal != nil || e.Digest != "") {
				t.Error("a failed collection gave a normal form")
			}
			if cut := tt.fault == routersim.CutMidExport; cut && len(e.Raw) == 0 {
				t.Error("what was printed of the cut export is gone")
			}
			if count.count != tt.exports {
				t.Errorf("%d exports, want %d", count.count, tt.exports)
			}
			if n := len(f.Sessions()); n > 1 {
				t.Errorf("%d connections", n)
			}
			e.Release()
			if used := c.memory.used.Load(); used != 0 {
				t.Errorf("%d bytes still counted", used)
			}
		})
	}
}

func TestCollectKnownGap(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 0, routersim.StandingGap)
	order := orderFor(r)
	first, err := New(Options{}).Collect(t.Context(), order)
	wantFault(t, err, fault.Incomplete)
	if len(first.SeenGaps) != 1 || first.KnownGaps != nil || first.Version != r.Version() {
		t.Fatalf("after the first failure: %+v", first)
	}
	for _, standing := range []func(*backup.Order){
		func(o *backup.Order) { o.SeenGaps = first.SeenGaps },
		func(o *backup.Order) { o.KnownGaps = first.SeenGaps },
	} {
		order := order
		standing(&order)
		e, err := New(Options{}).Collect(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		wantExport(t, e, r)
		if !slices.Equal(e.KnownGaps, first.SeenGaps) || !slices.Equal(e.SeenGaps, first.SeenGaps) {
			t.Errorf("known gaps %q, seen gaps %q, want %q", e.KnownGaps, e.SeenGaps, first.SeenGaps)
		}
		e.Release()
	}
}

func TestCollectFetchesACutExportOnceMore(t *testing.T) {
	t.Parallel()
	f, r := lone(t, v7, 0, routersim.CutMidExport)
	count := exports{at: func(int) {
		if err := r.SetFault(routersim.NoFault); err != nil {
			t.Error(err)
		}
	}}
	order := orderFor(r)
	order.Trace = count.trace
	e, err := New(Options{}).Collect(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Release()
	wantExport(t, e, r)
	if count.count != 2 || len(f.Sessions()) != 1 {
		t.Errorf("%d exports on %d connections, want 2 on 1", count.count, len(f.Sessions()))
	}
}

func TestCollectShrink(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		last    int
		at      func(*routersim.Router)
		exports int
		kind    fault.Kind
	}{
		{"as large as ever", 20_000, nil, 1, ""},
		{"shrunk, and twice the same", 2_000_000, nil, 2, ""},
		{"shrunk, and not the same", 2_000_000, (*routersim.Router).Change, 2, fault.Incomplete},
		{"shrunk, and then cut", 2_000_000, func(r *routersim.Router) { _ = r.SetFault(routersim.CutMidExport) }, 2, fault.Incomplete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, r := lone(t, v7, 20_000, routersim.NoFault)
			count := exports{at: func(n int) {
				if n == 1 && tt.at != nil {
					tt.at(r)
				}
			}}
			order := orderFor(r)
			order.LastBytes, order.Trace = tt.last, count.trace
			c := New(Options{})
			e, err := c.Collect(t.Context(), order)
			wantFault(t, err, tt.kind)
			if err == nil {
				wantExport(t, e, r)
			}
			if count.count != tt.exports || len(f.Sessions()) != 1 {
				t.Errorf("%d exports on %d connections, want %d on 1", count.count, len(f.Sessions()), tt.exports)
			}
			e.Release()
			if used := c.memory.used.Load(); used != 0 {
				t.Errorf("%d bytes still counted", used)
			}
		})
	}
}

func TestCollectHostKey(t *testing.T) {
	t.Parallel()
	f, r := lone(t, v6, 0, routersim.NoFault)
	order := orderFor(r)
	var keys []device.HostKey
	order.Trust = func(_ context.Context, key device.HostKey) error {
		keys = append(keys, key)
		s := f.Sessions()[0]
		if s.Login != routersim.LoginOK || s.Command != "" || s.Bytes != 0 {
			t.Errorf("trust was asked at %+v, want after the login and before the export", s)
		}
		return nil
	}
	e, err := New(Options{}).Collect(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	e.Release()
	if len(keys) != 1 || keys[0].Fingerprint != r.HostKeyFingerprint() {
		t.Fatalf("trusted keys %+v, want one of fingerprint %s", keys, r.HostKeyFingerprint())
	}

	order.HostKey = &keys[0]
	order.Trust = func(context.Context, device.HostKey) error {
		t.Error("a known key was asked about")
		return nil
	}
	if e, err = New(Options{}).Collect(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	e.Release()
	r.RotateHostKey()
	_, err = New(Options{}).Collect(t.Context(), order)
	wantFault(t, err, fault.HostKey, keys[0].Fingerprint, r.HostKeyFingerprint())
	if s := f.Sessions(); s[len(s)-1].Login != routersim.LoginNone {
		t.Errorf("login %q at a router with another key", s[len(s)-1].Login)
	}
}

func TestCollectTrustRefuses(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{
		fault.New(fault.Infrastructure, "host key store", "no answer"),
		fault.New(fault.HostKey, "host key store", "another worker saw another key"),
	} {
		f, r := lone(t, v7, 0, routersim.NoFault)
		order := orderFor(r)
		order.Trust = func(context.Context, device.HostKey) error { return refusal }
		_, err := New(Options{}).Collect(t.Context(), order)
		wantFault(t, err, fault.KindOf(refusal), "trust host key: host key store")
		if s := f.Sessions()[0]; s.Command != "" {
			t.Errorf("command %q was sent to an untrusted router", s.Command)
		}
	}
	_, r := lone(t, v7, 0, routersim.NoFault)
	order := orderFor(r)
	order.Trust = nil
	_, err := New(Options{}).Collect(t.Context(), order)
	wantFault(t, err, fault.Internal, "trust host key")
}

func TestCollectByPublicKey(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	const keyType = "ssh-ed25519"
	wire := binary.BigEndian.AppendUint32(nil, uint32(len(keyType)))
	wire = binary.BigEndian.AppendUint32(append(wire, keyType...), uint32(len(public)))
	wire = append(wire, public...)
	_, r := lone(t, v7, 0, routersim.NoFault)
	if err := r.AuthorizeKey(keyType + " " + base64.StdEncoding.EncodeToString(wire)); err != nil {
		t.Fatal(err)
	}
	order := orderFor(r)
	_, err = New(Options{}).Collect(t.Context(), order)
	wantFault(t, err, fault.Auth, "a user with an SSH key cannot use a password")

	order.Credential.PrivateKey = secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	e, err := New(Options{}).Collect(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	wantExport(t, e, r)
	e.Release()

	order.Credential.PrivateKey = secret.New("not a key")
	_, err = New(Options{}).Collect(t.Context(), order)
	wantFault(t, err, fault.Infrastructure, "not readable")
}
