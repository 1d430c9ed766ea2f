package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/pacetest"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

// collectOnce is one Collect of a Collector of its own.
func collectOnce(t *testing.T, o Options, order backup.Order) (backup.Export, error) {
	t.Helper()
	c := New(o)
	e, err := c.Collect(t.Context(), order)
	t.Cleanup(func() {
		if e.Release != nil {
			e.Release()
		}
		c.Close()
		if used := c.memory.used.Load(); used != 0 {
			t.Errorf("%d bytes still counted", used)
		}
	})
	return e, err
}

func TestCollectLargeExport(t *testing.T) {
	t.Parallel()
	size, window := pacetest.Fewer(3<<20), pacetest.Fewer(1<<20)
	all := []string{"ssh", "read", "sensitive", "write", "ftp"}
	for _, tt := range []struct {
		name     string
		sftp     bool
		policies []string
		order    func(*routersim.Router)
		kind     fault.Kind
		words    []string
	}{
		{name: "not allowed", policies: all, kind: fault.Incomplete, words: []string{"without the end marker", "large_export: sftp", "write,ftp"}},
		{name: "allowed", sftp: true, policies: all},
		{name: "without write", sftp: true, policies: []string{"ssh", "read", "sensitive", "ftp"}, kind: fault.Permission, words: []string{"write"}},
		{name: "without ftp", sftp: true, policies: []string{"ssh", "read", "sensitive", "write"}, kind: fault.Permission, words: []string{"ftp"}},
		{name: "without room", sftp: true, policies: all, order: func(r *routersim.Router) { r.SetFlash(window) }, kind: fault.Incomplete},
		{name: "not needed", sftp: true, policies: all, order: func(r *routersim.Router) { r.SetWindowCut(0) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, r := lone(t, v7, size, routersim.NoFault)
			r.SetWindowCut(window)
			r.SetPolicies(tt.policies...)
			if tt.order != nil {
				tt.order(r)
			}
			order := orderFor(r)
			if tt.sftp {
				order.Device.LargeExport = device.LargeExportSFTP
			}
			e, err := collectOnce(t, Options{Settle: time.Second}, order)
			wantFault(t, err, tt.kind, tt.words...)
			if e.FileLeft {
				t.Error("a file is said to be left")
			}
			if err == nil {
				wantExport(t, e, r)
				proof := routeros.ProofSFTP
				if tt.name == "not needed" {
					proof = routeros.ProofMarker
				}
				if e.Proof != proof {
					t.Errorf("proof %q, want %q", e.Proof, proof)
				}
			}
			if left := r.Files(); len(left) > 0 {
				t.Errorf("left on the router: %v", left)
			}
			if n := len(f.Sessions()); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestCollectCleansUp finds a file that a killed attempt left.
func TestCollectCleansUp(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 0, routersim.NoFault)
	r.SetPolicies("ssh", "read", "sensitive", "write", "ftp")
	conn, err := sshclient.Dial(t.Context(), sshclient.Target{Address: r.Address(), Port: r.Port(), Username: testUser, Password: secret.New(testPassword)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), routeros.FileCommand(routeros.Want{Major: 7}, fileName, "x"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if len(r.Files()) != 1 {
		t.Fatalf("files %v, want one", r.Files())
	}
	order := orderFor(r)
	order.FileLeft = true
	e, err := collectOnce(t, Options{}, order)
	if err != nil {
		t.Fatal(err)
	}
	wantExport(t, e, r)
	if left := r.Files(); len(left) > 0 {
		t.Errorf("left on the router: %v", left)
	}
}

func TestCollectTwice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		proof string
		size  int
		order func(*routersim.Router)
		at    func(*routersim.Router)
		kind  fault.Kind
		words []string
	}{
		{name: "marker refused", kind: fault.Rejected, words: []string{"proof: twice"}},
		{name: "twice the same", proof: device.ProofTwice},
		{name: "a change between", proof: device.ProofTwice, at: (*routersim.Router).Change, kind: fault.Incomplete, words: []string{"differ"}},
		{name: "cut at the same place", proof: device.ProofTwice, size: 200_000, order: func(r *routersim.Router) { r.SetWindowCut(131_072) }, kind: fault.Incomplete, words: []string{"ends inside line"}},
		{name: "too long to vouch", proof: device.ProofTwice, size: 1_200_000, kind: fault.Incomplete, words: []string{"vouches"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, r := lone(t, v7, tt.size, routersim.NoFault)
			r.SetMarkerRefused(true)
			if tt.order != nil {
				tt.order(r)
			}
			count := exports{at: func(n int) {
				if n == 1 && tt.at != nil {
					tt.at(r)
				}
			}}
			order := orderFor(r)
			order.Device.Proof, order.Trace = tt.proof, count.trace
			e, err := collectOnce(t, Options{}, order)
			wantFault(t, err, tt.kind, tt.words...)
			if err == nil {
				wantExport(t, e, r)
				if e.Proof != routeros.ProofTwice || count.count != 2 {
					t.Errorf("proof %q after %d exports", e.Proof, count.count)
				}
			}
			if n := len(f.Sessions()); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestCollectSecrets(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 0, routersim.NoFault)
	good, err := collectOnce(t, Options{}, orderFor(r))
	if err != nil {
		t.Fatal(err)
	}
	if good.Secrets == 0 {
		t.Fatal("no secret was counted")
	}
	last := slices.Clone(good.Normal)
	r.SetPolicies("ssh", "read")
	hidden := orderFor(r)
	_, err = collectOnce(t, Options{}, hidden)
	wantFault(t, err, fault.Permission, "policy=ssh,read,sensitive")

	hidden.Credential.Hide = true
	if _, err = collectOnce(t, Options{}, hidden); err != nil {
		t.Errorf("with `sensitive: hide`: %v", err)
	}
	hidden.Credential.Hide, hidden.WithoutSecrets = false, true
	if _, err = collectOnce(t, Options{}, hidden); err != nil {
		t.Errorf("with force: %v", err)
	}

	// Without the items that cannot be without a secret, only the last export tells.
	text := r.ExportHidden()
	for _, tt := range []struct {
		name   string
		last   []byte
		lastOK bool
		kind   fault.Kind
	}{
		{"items remain", last, true, fault.Permission},
		{"nothing to compare with", nil, true, fault.Permission},
		{"items are gone too", []byte("/ppp secret\nadd name=x password=y\n"), true, ""},
		{"not readable", nil, false, fault.Infrastructure},
	} {
		c := New(Options{})
		a := attempt{Collector: c, trace: func(backup.Step) {}, normal: routeros.Normalize(nil, []byte(text)), order: backup.Order{
			Secrets: 3,
			LastNormal: func(context.Context) ([]byte, error) {
				if !tt.lastOK {
					return nil, fault.New(fault.Infrastructure, "read", "no answer")
				}
				return tt.last, nil
			},
		}}
		err := a.checkSecrets(t.Context(), routeros.Verdict{})
		if got := fault.KindOf(err); got != tt.kind {
			t.Errorf("%s: kind %q, want %q: %v", tt.name, got, tt.kind, err)
		}
		c.Close()
	}
}

func TestCollectEras(t *testing.T) {
	t.Parallel()
	for _, era := range routersim.Eras() {
		t.Run(string(era), func(t *testing.T) {
			t.Parallel()
			version := v6
			if era == routersim.EraModern {
				version = v7
			}
			f, r := lone(t, version, 0, routersim.NoFault)
			if err := r.SetEra(era); err != nil {
				t.Fatal(err)
			}
			e, err := collectOnce(t, Options{}, orderFor(r))
			switch era {
			case routersim.EraDSA, routersim.EraMD5:
				wantFault(t, err, fault.Negotiation, "the router offers")
			default:
				if err != nil {
					t.Fatal(err)
				}
				wantExport(t, e, r)
				if modern := era == routersim.EraModern || era == routersim.EraStrong; modern != (len(e.Legacy) == 0) {
					t.Errorf("outdated: %q", e.Legacy)
				}
			}
			if n := len(f.Sessions()); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestCollectWidths(t *testing.T) {
	t.Parallel()
	for _, version := range routersim.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			_, r := lone(t, version, 60_000, routersim.NoFault)
			r.SetFlicker(routersim.FlickerAll)
			digests := map[string]bool{}
			for _, width := range []int{79, 80, 100, 236, 0} {
				r.SetWidth(width)
				e, err := collectOnce(t, Options{}, orderFor(r))
				if err != nil {
					t.Fatalf("width %d: %v", width, err)
				}
				digests[e.Digest] = true
			}
			if len(digests) != 1 {
				t.Errorf("%d digests", len(digests))
			}
		})
	}
}

// TestCollectFlickers10000 prints one unchanged configuration 10,000 times, and then every change of it.
func TestCollectFlickers10000(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 0, routersim.NoFault)
	conn, err := sshclient.Dial(t.Context(), sshclient.Target{Address: r.Address(), Port: r.Port(), Username: testUser, Password: secret.New(testPassword)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var raw, normal []byte
	want := routeros.Want{Major: 7}
	digests, texts := map[string]bool{}, map[string]bool{}
	for n := range pacetest.Fewer(10_000) {
		marker := fmt.Sprintf("end%d", n)
		if raw, err = conn.Exec(t.Context(), routeros.Command(want, marker), raw[:0], 0); err != nil {
			t.Fatal(err)
		}
		v := routeros.Prove(normal[:0], raw, marker, want, nil)
		if !v.Complete {
			t.Fatal(v.Reason)
		}
		normal = v.Normal
		digests[routeros.Digest(normal)] = true
		texts[routeros.Digest(v.Text)] = true
	}
	if len(digests) != 1 || len(texts) < 100 {
		t.Errorf("%d digests of %d different texts", len(digests), len(texts))
	}
}

// cutter is a TCP proxy that closes both sides after a number of bytes from the router.
func cutter(t *testing.T, to string, after int64) (address string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			router, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(err)
				_ = client.Close()
				return
			}
			end := func() { _, _ = client.Close(), router.Close() }
			running.Go(func() {
				defer end()
				_, _ = io.Copy(router, client)
			})
			running.Go(func() {
				defer end()
				_, _ = io.CopyN(client, router, after)
			})
		}
	})
	at := l.Addr().(*net.TCPAddr)
	return at.IP.String(), at.Port
}

func TestCollectCutEvery4KB(t *testing.T) {
	t.Parallel()
	const size, step = 120_000, 4 << 10
	_, r := lone(t, v7, size, routersim.NoFault)
	whole := int64(len(r.Export()))
	for after := int64(step); ; after += step {
		order := orderFor(r)
		order.Device.Address, order.Device.Port = cutter(t, net.JoinHostPort(r.Address(), fmt.Sprint(r.Port())), after)
		e, err := collectOnce(t, Options{}, order)
		if after < whole {
			if kind := fault.KindOf(err); kind != fault.Incomplete && kind != fault.Unreachable || e.Digest != "" {
				t.Fatalf("cut after %d bytes: kind %q, digest %q: %v", after, kind, e.Digest, err)
			}
			continue
		}
		if err == nil {
			wantExport(t, e, r)
			return
		}
		if after > 2*whole {
			t.Fatalf("cut after %d bytes of an export of %d: %v", after, whole, err)
		}
	}
}

// TestCollectThroughJumpHosts goes through two simulated routers that forward.
func TestCollectThroughJumpHosts(t *testing.T) {
	t.Parallel()
	f := fleet(t, routersim.Options{Devices: 10, Versions: []string{v7}})
	outer, inner, behind := f.Routers()[0], f.Routers()[1], f.Routers()[2:]
	outer.SetForwarding(true)
	inner.SetForwarding(true)
	hop := func(r *routersim.Router, seen *[]string) backup.Hop {
		d := orderFor(r)
		return backup.Hop{
			Jump:       device.Jump{ID: r.ID(), Site: device.DefaultSite, Address: r.Address(), Port: r.Port()},
			Credential: d.Credential,
			Trust: func(_ context.Context, k device.HostKey) error {
				*seen = append(*seen, k.Fingerprint)
				return nil
			},
		}
	}
	var seen []string
	c := New(Options{})
	defer c.Close()
	collectAll := func(jumps func() []backup.Hop) []error {
		var mu sync.Mutex
		var errs []error
		var wg sync.WaitGroup
		for _, r := range behind {
			wg.Go(func() {
				order := orderFor(r)
				order.Jumps = jumps()
				e, err := c.Collect(t.Context(), order)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					wantExport(t, e, r)
				}
				if e.Release != nil {
					e.Release()
				}
				errs = append(errs, err)
			})
		}
		wg.Wait()
		return errs
	}
	first := []backup.Hop{hop(outer, &seen), hop(inner, &seen)}
	for _, err := range collectAll(func() []backup.Hop { return first }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{outer.HostKeyFingerprint(), inner.HostKeyFingerprint()}; !slices.Equal(seen, want) {
		t.Errorf("keys of the hops %q, want %q", seen, want)
	}
	count := map[string]int{}
	for _, s := range f.Sessions() {
		count[s.Device]++
	}
	if count[outer.ID()] != 1 || count[inner.ID()] != 1 {
		t.Errorf("%d and %d connections to the jump hosts, want one each", count[outer.ID()], count[inner.ID()])
	}

	// Another key on record than the one that is shown: nobody goes through, and it is nobody's own fault.
	wrong := slices.Clone(first)
	wrong[1].HostKey = &device.HostKey{Type: "ssh-ed25519", Fingerprint: "SHA256:" + strings.Repeat("A", 43)}
	for _, err := range collectAll(func() []backup.Hop { return wrong }) {
		wantFault(t, err, fault.Unreachable, "jump host "+inner.ID(), inner.HostKeyFingerprint(), wrong[1].HostKey.Fingerprint)
	}

	// A password that the jump host refuses is tried once.
	before := len(f.Sessions())
	refused := slices.Clone(first)
	refused[0].Credential.Password, refused[0].Credential.Version = secret.New("wrong"), "other"
	for _, err := range collectAll(func() []backup.Hop { return refused }) {
		wantFault(t, err, fault.Unreachable, "jump host "+outer.ID(), "refused")
	}
	if n := len(f.Sessions()) - before; n != 1 {
		t.Errorf("%d logins with a refused password", n)
	}
}

func TestCollectShowsTheOtherKey(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 0, routersim.NoFault)
	order := orderFor(r)
	order.HostKey = &device.HostKey{Fingerprint: "SHA256:" + strings.Repeat("A", 43)}
	e, err := collectOnce(t, Options{}, order)
	wantFault(t, err, fault.HostKey, "hostkey accept")
	if e.HostKey == nil || e.HostKey.Fingerprint != r.HostKeyFingerprint() || len(e.HostKey.Key) == 0 {
		t.Fatalf("shown key %+v", e.HostKey)
	}
	order.HostKey = &device.HostKey{Fingerprint: e.HostKey.Fingerprint} // as an operator types it
	if e, err = collectOnce(t, Options{}, order); err != nil {
		t.Fatal(err)
	}
	if e.HostKey == nil || bytes.Equal(e.HostKey.Key, nil) {
		t.Error("the export does not tell the key")
	}
	if _, differs := errors.AsType[*sshclient.HostKeyError](err); differs {
		t.Error("a key with the fingerprint on record differs")
	}
}

// TestCheckFile is about a file that stood still before it was whole, at the end of a line.
func TestCheckFile(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 60_000, routersim.NoFault)
	text := r.Export()
	c := New(Options{})
	defer c.Close()
	a := attempt{Collector: c, normal: routeros.Normalize(nil, []byte(text[:len(text)/2]))}
	if err := a.remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := routeros.Verdict{Proof: routeros.ProofSFTP}
	for name, file := range map[string]string{
		"whole": text, "another configuration": strings.Replace(text, "bridge", "bridle", 1), "shorter": text[:strings.LastIndex(text[:len(text)/3], "\r\n/")+2],
	} {
		a.normal = routeros.Normalize(nil, []byte(file))
		if err := a.checkFile(v); (err == nil) != (name == "whole") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
