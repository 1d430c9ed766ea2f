package state_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/state"
)

func TestHostKeyLedger(t *testing.T) {
	t.Parallel()
	s := open(t, natsiotest.Connect(t, natsiotest.StartServer(t)), nil)
	ctx := natsiotest.Within(t)
	key, other := device.Key("riga", "r1"), device.Key("riga", "r2")
	k := func(name string) device.HostKey {
		return device.HostKey{Type: "ssh-ed25519", Fingerprint: "SHA256:" + name}
	}
	if _, revision, err := s.HostKeyRecord(ctx, key); err != nil || revision != 0 {
		t.Fatalf("revision %d, %v", revision, err)
	}
	if h, err := s.HostKeyHistory(ctx, key); err != nil || len(h) != 0 {
		t.Fatalf("history %v, %v", h, err)
	}
	must[device.HostKey](t)(s.TrustHostKey(ctx, key, k("a")))
	must[device.HostKey](t)(s.TrustHostKey(ctx, other, k("o")))
	_, revision, err := s.HostKeyRecord(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	must[uint64](t)(s.PutHostKey(ctx, key, k("b"), revision))
	if _, err := s.PutHostKey(ctx, key, k("c"), revision); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("over a key that changed meanwhile: %v", err)
	}
	if _, err := s.PutHostKey(ctx, key, k("c"), 0); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("as the first one, where there is one: %v", err)
	}
	if err := s.ForgetHostKey(ctx, key); err != nil {
		t.Fatal(err)
	}
	if all, err := s.HostKeys(ctx); err != nil || len(all) != 1 || all[other].Fingerprint != "SHA256:o" {
		t.Errorf("on record %v, %v", all, err)
	}
	must[uint64](t)(s.PutHostKey(ctx, key, k("d"), 0)) // after it was forgotten
	history, err := s.HostKeyHistory(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range history {
		if c.Forgotten != (c.HostKey.Fingerprint == "") || c.At.IsZero() {
			t.Errorf("change %+v", c)
		}
		got = append(got, c.HostKey.Fingerprint)
	}
	if want := []string{"SHA256:d", "", "SHA256:b", "SHA256:a"}; !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
}

// TestLedgerKeepsTheLastFive and goes on over a record that nobody can read.
func TestLedgerKeepsTheLastFive(t *testing.T) {
	t.Parallel()
	c := natsiotest.Connect(t, natsiotest.StartServer(t))
	told := make(chan error, 8)
	s := open(t, c, func(err error) { told <- err })
	ctx := natsiotest.Within(t)
	var revision uint64
	for i := range 6 {
		revision = must[uint64](t)(s.PutHostKey(ctx, key, device.HostKey{Fingerprint: fmt.Sprint("SHA256:", i)}, revision))
	}
	kv, err := c.JetStream().KeyValue(ctx, "confhaul-hostkeys")
	if err != nil {
		t.Fatal(err)
	}
	must[uint64](t)(kv.Put(ctx, "a.bad", []byte("{")))
	if all, err := s.HostKeys(ctx); err != nil || len(all) != 1 || all[key].Fingerprint != "SHA256:5" {
		t.Errorf("on record %v, %v", all, err)
	}
	if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), "a.bad is unreadable") {
		t.Errorf("told %v", err)
	}
	if _, _, err := s.HostKeyRecord(ctx, "a.bad"); err == nil {
		t.Error("an unreadable host key was read")
	}
	history := must[[]state.HostKeyChange](t)(s.HostKeyHistory(ctx, key))
	if len(history) != 5 || history[0].HostKey.Fingerprint != "SHA256:5" || history[4].HostKey.Fingerprint != "SHA256:1" {
		t.Errorf("history %+v", history)
	}
	if history := must[[]state.HostKeyChange](t)(s.HostKeyHistory(ctx, "a.bad")); len(history) != 0 {
		t.Errorf("history of what is unreadable: %+v", history)
	}
	if err := natsiotest.Next(t, told); !strings.Contains(err.Error(), "a.bad is unreadable") {
		t.Errorf("told %v", err)
	}
}
