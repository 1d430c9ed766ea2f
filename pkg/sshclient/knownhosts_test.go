package sshclient

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/pacetest"
)

var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

// keyText is a key as known_hosts has it.
func keyText(key any) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer(key).PublicKey())))
}

func TestKnownHostsLookup(t *testing.T) {
	t.Parallel()
	rsa, ed, ec, other := keyText(rsaKey()), keyText(ed25519Key()), keyText(ecKey()), keyText(otherKey())
	file := strings.Join([]string{
		"# comment",
		"",
		"10.0.0.1 " + rsa + " a comment",
		"10.0.0.1,GW.example\t" + ed + "\r",
		"10.0.0.1 " + ec,
		"10.0.0.1 " + ec,
		"[10.0.0.1]:2222 " + other,
		"2001:db8::1,[2001:DB8:0:0::2]:2200 " + ed,
		"*.lan.example,!bad.lan.example,192.168.?.1 " + ec,
		"[*.lan.example]:2222 " + rsa,
		knownhosts.HashHostname("hidden.example") + " " + rsa,
		knownhosts.HashHostname("[hidden.example]:2222") + " " + ed,
		"  indented " + rsa,
	}, "\n")
	k, err := ParseKnownHosts(strings.NewReader(file), "hosts")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		address string
		port    int
		want    []string
	}{
		{"10.0.0.1", 22, []string{ed, ec, rsa}},
		{"10.0.0.1", 0, []string{ed, ec, rsa}},
		{"10.0.0.1", 2222, []string{other}},
		{"10.0.0.1", 2223, nil},
		{"10.0.0.2", 22, nil},
		{"gw.Example", 22, []string{ed}},
		{"2001:db8:0::1", 22, []string{ed}},
		{"2001:db8::2", 2200, []string{ed}},
		{"2001:db8::2", 22, nil},
		{"a.lan.example", 22, []string{ec}},
		{"a.b.LAN.example", 22, []string{ec}},
		{"bad.lan.example", 22, nil},
		{"a.lan.example", 2222, []string{rsa}},
		{"lan.example", 22, nil},
		{"192.168.7.1", 22, []string{ec}},
		{"192.168.77.1", 22, nil},
		{"hidden.example", 22, []string{rsa}},
		{"hidden.example", 2222, []string{ed}},
		{"indented", 22, []string{rsa}},
		{"# comment", 22, nil},
		{"", 22, nil},
	} {
		var got []string
		for _, key := range k.Lookup(tt.address, tt.port) {
			pub, err := ssh.ParsePublicKey(key.Key)
			if err != nil {
				t.Fatal(err)
			}
			if key.Type != pub.Type() || key.Fingerprint != ssh.FingerprintSHA256(pub) || key.Source != device.HostKeyImported || !key.SeenAt.IsZero() {
				t.Errorf("%s: %+v", tt.address, key)
			}
			got = append(got, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s port %d: %q, want %q", tt.address, tt.port, got, tt.want)
		}
	}
}

func TestKnownHostsBadLines(t *testing.T) {
	t.Parallel()
	rsa, ed := keyText(rsaKey()), keyText(ed25519Key())
	const dss = "ssh-dss AAAAB3NzaC1kc3MAAAAVAJqK"
	for _, tt := range []struct{ line, words string }{
		{"host", "neither host nor key"},
		{"host ssh-rsa", "not taken"},
		{"host ssh-rsa AAAA!", "not taken"},
		{"host " + strings.Replace(ed, "ssh-ed25519", "ssh-rsa", 1), "mismatch"},
		{"host " + dss, "not taken"},
		{"@cert-authority *.example " + rsa, `marker "@cert-authority" is not supported`},
		{"@what host " + rsa, `marker "@what" is not supported`},
		{"@revoked * " + rsa, "is revoked"},
		{"[host " + ed, "not [host]:port"},
		{"good,[host]:x " + ed, "has no port"},
		{"good,[host]:70000 " + ed, "has no port"},
		{"|1|a|b " + ed, "hashed host"},
		{"|2|AAAA|AAAA " + ed, "hashed host"},
		{"|1|AAAA|AAAA " + ed, "20 bytes"},
		{knownhosts.HashHostname("x") + ",good " + ed, "alone"},
		{"good,! " + ed, "empty"},
		{", " + ed, "empty"},
	} {
		k, err := ParseKnownHosts(strings.NewReader("before "+rsa+"\n"+tt.line+"\nafter "+ed+"\n"), "hosts.txt")
		bad, ok := errors.AsType[*fault.InputError](err)
		if !ok || bad.File != "hosts.txt" || bad.Line != 2 || !strings.Contains(bad.Error(), tt.words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", tt.line, err)
		}
		revoked := strings.HasPrefix(tt.line, "@revoked")
		if (len(k.Lookup("before", 22)) == 1) == revoked || len(k.Lookup("after", 22)) != 1 || k.Lookup("good", 22) != nil || k.Lookup("host", 22) != nil {
			t.Errorf("%q: the other lines were not taken as they are", tt.line)
		}
	}
}

type endless struct{ line []byte }

func (e endless) Read(p []byte) (int, error) {
	return copy(p, bytes.Repeat(e.line, len(p)/len(e.line))), nil
}

func TestKnownHostsBounds(t *testing.T) {
	t.Parallel()
	_, err := ParseKnownHosts(endless{[]byte("x")}, "f")
	if bad, ok := errors.AsType[*fault.InputError](err); !ok || bad.Line != 1 || !strings.Contains(bad.Error(), "too long") {
		t.Errorf("a line without end: %v", err)
	}
	_, err = ParseKnownHosts(endless{[]byte("#\n")}, "f")
	if bad, ok := errors.AsType[*fault.InputError](err); !ok || bad.Line != knownLinesMax+1 {
		t.Errorf("lines without end: %v", err)
	}
	_, err = ParseKnownHosts(strings.NewReader(strings.Repeat("bad\n", 1000)), "f")
	if text := fmt.Sprint(err); strings.Count(text, "\n") != knownErrorsMax || !strings.Contains(text, "f: 900 more lines were left out") {
		t.Errorf("%d lines of errors", strings.Count(text, "\n"))
	}
	broken := errors.New("disk on fire")
	_, err = ParseKnownHosts(failing{broken}, "f")
	if _, ok := errors.AsType[*fault.InputError](err); !ok || !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestKnownHostsLarge has a fleet's file; the bound on the time is far above what it takes.
func TestKnownHostsLarge(t *testing.T) {
	t.Parallel()
	hosts := pacetest.Fewer(100_000)
	name := func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) }
	var file bytes.Buffer
	ed := keyText(ed25519Key())
	for i := range hosts {
		fmt.Fprintf(&file, "%s %s\n", name(i), ed)
	}
	start := time.Now()
	k, err := ParseKnownHosts(&file, "hosts")
	if err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		if len(k.Lookup(name(i), 22)) != 1 {
			t.Fatalf("%s is not there", name(i))
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	many := strings.Repeat("*a", 50_000)
	start = time.Now()
	if wildcard(many+"b", strings.Repeat("a", 500)) || !wildcard("*"+"***?", "x") {
		t.Error("wildcard")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a hostile pattern took %s", took)
	}
}

func TestFormatKnownHosts(t *testing.T) {
	t.Parallel()
	key := hostKeyOf(signer(ed25519Key()))
	for _, tt := range []struct {
		address string
		port    int
		want    string
	}{
		{"10.0.0.1", 22, "10.0.0.1 "},
		{"10.0.0.1", 0, "10.0.0.1 "},
		{"gw.example", 2222, "[gw.example]:2222 "},
		{"2001:DB8::1", 22, "2001:db8::1 "},
		{"2001:db8::1", 2222, "[2001:db8::1]:2222 "},
	} {
		line, err := FormatKnownHosts(tt.address, tt.port, key)
		if err != nil || line != tt.want+keyText(ed25519Key()) {
			t.Errorf("%q, error %v", line, err)
		}
		k, err := ParseKnownHosts(strings.NewReader(line), "f")
		if err != nil || len(k.Lookup(tt.address, tt.port)) != 1 {
			t.Errorf("%q is not read back: %v", line, err)
		}
		// The library that OpenSSH's files are read with agrees.
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		check := must(knownhosts.New(file))
		endpoint := Target{Address: strings.ToLower(tt.address), Port: tt.port}.endpoint()
		if err := check(endpoint, jumpAddr(endpoint), signer(ed25519Key()).PublicKey()); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	if _, err := FormatKnownHosts("gw", 22, device.HostKey{Type: "ssh-rsa", Fingerprint: "SHA256:x"}); err == nil || !strings.Contains(err.Error(), "only the fingerprint SHA256:x") {
		t.Errorf("a fingerprint alone: %v", err)
	}
	if _, err := FormatKnownHosts("gw", 22, device.HostKey{Key: []byte("x")}); err == nil {
		t.Error("a key that is none was formatted")
	}
	for _, address := range []string{"", "a b", "a,b", "*", "!a", "a\nb", "|1|a|b", "#a", "@revoked"} {
		if line, err := FormatKnownHosts(address, 22, key); err == nil {
			t.Errorf("address %q gives %q", address, line)
		}
	}
}

func FuzzParseKnownHosts(f *testing.F) {
	const ( // not made anew, so that a finding can be run again
		ed = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILlYQIV3ritL2yr7e4c48+v0ZGW0EGCrTPrSjSYl50UG"
		ec = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHZswsZM/9bHzfrl5tqh8JOWe/JMpVpSAa5W5aftqsjjVgQFECNa5kg4TwO3PLB/oWQ6pFqdtFyJ2osD1t1sOeU="
	)
	for _, seed := range []string{
		"", "# comment\n", "10.0.0.1 " + ed, "[10.0.0.1]:2222,gw " + ec + "\r\n", "*.lan,!bad.lan " + ed, "|1|MDEyMzQ1Njc4OTAxMjM0NTY3ODk=|Kc/kaT8oJFSboZtQqWbPdls2ca0=" + " " + ed,
		"@revoked * " + ed + "\n10.0.0.1 " + ed, "@cert-authority * " + ec, "2001:db8::1 " + ed, "gw ssh-rsa AAAA", "|1|| " + ed, ",, " + ed, "[]:22 " + ed, "[a:22 " + ed,
	} {
		f.Add(seed, "10.0.0.1", 22)
		f.Add(seed, "gw", 2222)
	}
	f.Fuzz(func(t *testing.T, file, address string, port int) {
		k, err := ParseKnownHosts(strings.NewReader(file), "f")
		if k == nil {
			t.Fatal("nothing comes back")
		}
		if err != nil {
			if _, ok := errors.AsType[*fault.InputError](err); !ok {
				t.Fatalf("not an input error: %v", err)
			}
		}
		for _, key := range k.Lookup(address, port) {
			pub, err := ssh.ParsePublicKey(key.Key)
			if err != nil || ssh.FingerprintSHA256(pub) != key.Fingerprint || k.revoked[string(key.Key)] {
				t.Fatalf("key %+v: %v", key, err)
			}
			line, err := FormatKnownHosts(address, port, key)
			if err != nil || port < 0 || port > 65535 {
				continue
			}
			again, err := ParseKnownHosts(strings.NewReader(line), "f")
			if err != nil || len(again.Lookup(address, port)) != 1 {
				t.Fatalf("%q is not read back: %v", line, err)
			}
		}
	})
}
