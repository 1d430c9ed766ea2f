//go:build linux

package bench

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

// fleet is a small one with what a bare loop over it needs.
func fleet(t *testing.T, devices int) (*Fleet, BareJob) {
	t.Helper()
	job := FleetJob{Load: Load{Devices: devices, Size: 30_000, Sessions: 4, Sites: 2}, Username: "u", Password: "right"}
	told := 0
	f, err := StartFleet(t.Context(), job, func(n int) { told = n })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if told != devices || len(f.Targets) != devices {
		t.Errorf("%d of %d routers are ready, %d are told", len(f.Targets), devices, told)
	}
	conn, err := sshclient.Dial(t.Context(), sshclient.Target{
		Address: f.Targets[0].Address, Port: f.Targets[0].Port, Username: "u", Password: secret.New("right"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var a Algorithms
	a.KeyExchange, a.Cipher, a.MAC, a.HostKey = conn.Algorithms()
	return f, BareJob{Load: job.Load, Targets: f.Targets, Username: "u", Password: "right", Algorithms: a}
}

func TestBare(t *testing.T) {
	t.Parallel()
	_, job := fleet(t, 12)
	told := 0
	s, err := Bare(t.Context(), job, func(n int) { told = n })
	if err != nil || s.Devices != 12 || told != 12 {
		t.Fatalf("%d exports, %d told: %v", s.Devices, told, err)
	}
	if s.Bytes < 12*30_000 || s.CPU <= 0 || s.Peak < s.Idle || s.Idle <= 0 || s.Drain <= 0 || s.Mallocs <= 0 || s.AllocBytes <= 0 {
		t.Errorf("got %+v", s)
	}
}

// TestBareRefuses: one router that is not as it should be ends the loop.
func TestBareRefuses(t *testing.T) {
	t.Parallel()
	_, job := fleet(t, 6)
	for want, spoil := range map[string]func(*BareJob){
		"host key":               func(j *BareJob) { j.Targets = slices.Clone(j.Targets); j.Targets[3].Fingerprint = "SHA256:other" },
		"unable to authenticate": func(j *BareJob) { j.Password = "wrong" },
		"less than the":          func(j *BareJob) { j.Load.Size = 200_000 },
		"no common algorithm":    func(j *BareJob) { j.Algorithms.KeyExchange = "ecdh-sha2-nistp521" },
	} {
		own := job
		spoil(&own)
		if _, err := Bare(t.Context(), own, func(int) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Bare(ctx, job, func(int) {}); err == nil {
		t.Error("a loop that was cancelled before it began ends well")
	}
}
