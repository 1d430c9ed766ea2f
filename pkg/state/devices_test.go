package state_test

import (
	"errors"
	"fmt"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/state"
)

func TestDevicesAreSortedAndDeletedOnesGone(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	for _, id := range []string{"r9", "r:1@x.y", "r5", "r0"} {
		if err := s.PutDevice(ctx, device.Device{ID: id, Site: "berlin"}); err != nil {
			t.Fatal(err)
		}
	}
	if d, found, err := s.Device(ctx, device.Key("berlin", "r:1@x.y")); err != nil || !found || d.ID != "r:1@x.y" {
		t.Errorf("got %+v, %v, %v", d, found, err)
	}
	must[uint64](t)(s.PutState(ctx, "berlin.r5", backup.State{Failures: 4}, 0))
	for range 2 {
		if err := s.DeleteDevice(ctx, "berlin.r5"); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := s.Device(ctx, "berlin.r5"); err != nil || found {
		t.Errorf("deleted: %v, %v", found, err)
	}
	if st, _, err := s.State(ctx, "berlin.r5"); err != nil || st.Failures != 4 {
		t.Errorf("the state went with the device: %+v, %v", st, err)
	}
	var ids []string
	for _, d := range must[[]device.Device](t)(s.Devices(ctx)) {
		ids = append(ids, d.ID)
	}
	if got := fmt.Sprint(ids); got != "[r0 r9 r:1@x.y]" {
		t.Errorf("got %s", got)
	}
}

// TestFindDevice finds a device by its id alone, and one that moved at its new site.
func TestFindDevice(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	for _, d := range []device.Device{
		{ID: "r1", Site: "berlin"}, {ID: "r11", Site: "berlin"}, {ID: "a.r1", Site: "berlin"}, {ID: "r:1@x.y", Site: "paris"},
		{ID: "moved", Site: "a"}, {ID: "gone", Site: "b"}, {ID: "moving", Site: "z"}, {ID: "moving", Site: "a", Name: "new"},
	} {
		if err := s.PutDevice(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.DeleteDevice(ctx, "b.gone"), s.MoveDevice(ctx, "a.moved", device.Device{ID: "moved", Site: "b"})); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"r1": "berlin.r1", "a.r1": "berlin.a=2Er1", "r:1@x.y": "paris.r=3A1=40x=2Ey", "moved": "b.moved", "moving": "a.moving",
		"gone": "", "r2": "", "*": "", ">": "", "": "",
	} {
		d, found, err := s.FindDevice(ctx, id)
		if err != nil || found != (want != "") || found && (d.Key() != want || d.ID != id) {
			t.Errorf("%q: %+v, %v, %v", id, d, found, err)
		}
	}
}

// A move that was cut off after any of its steps is finished by making it again.
func TestMoveDeviceFinishesWhatWasCutOff(t *testing.T) {
	t.Parallel()
	const oldKey, newKey = "berlin.r1", "paris.r1"
	moved := device.Device{ID: "r1", Site: "paris", Name: "moved"}
	hostKey := device.HostKey{Fingerprint: "SHA256:old"}
	steps := []struct {
		name string
		do   func(t *testing.T, s *state.Store) error
	}{
		{"nothing", func(*testing.T, *state.Store) error { return nil }},
		{"host key copied", func(t *testing.T, s *state.Store) error {
			_, err := s.TrustHostKey(natsiotest.Within(t), newKey, hostKey)
			return err
		}},
		{"state copied", func(t *testing.T, s *state.Store) error {
			_, err := s.PutState(natsiotest.Within(t), newKey, backup.State{Failures: 7}, 0)
			return err
		}},
		{"device put", func(t *testing.T, s *state.Store) error { return s.PutDevice(natsiotest.Within(t), moved) }},
		{"old device deleted", func(t *testing.T, s *state.Store) error { return s.DeleteDevice(natsiotest.Within(t), oldKey) }},
		{"worked on at the new site", func(t *testing.T, s *state.Store) error {
			_, revision, err := s.State(natsiotest.Within(t), newKey)
			if err != nil {
				return err
			}
			_, err = s.PutState(natsiotest.Within(t), newKey, backup.State{Failures: 0}, revision)
			return err
		}},
	}
	for n, last := range steps {
		t.Run(last.name, func(t *testing.T) {
			t.Parallel()
			s, ctx := store(t), natsiotest.Within(t)
			if err := s.PutDevice(ctx, device.Device{ID: "r1", Site: "berlin"}); err != nil {
				t.Fatal(err)
			}
			must[uint64](t)(s.PutState(ctx, oldKey, backup.State{Failures: 7, SnapshotSeq: 5, Running: &backup.Running{Until: time.Now().Add(-time.Second)}}, 0))
			must[device.HostKey](t)(s.TrustHostKey(ctx, oldKey, hostKey))
			for _, step := range steps[:n+1] {
				if err := step.do(t, s); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // the second finds it all done
				if err := s.MoveDevice(ctx, oldKey, moved); err != nil {
					t.Fatal(err)
				}
			}
			all := must[[]device.Device](t)(s.Devices(ctx))
			if len(all) != 1 || !all[0].Equal(moved) {
				t.Errorf("devices: %+v", all)
			}
			want := 7
			if last.name == "worked on at the new site" {
				want = 0
			}
			states := must[map[string]backup.State](t)(s.States(ctx))
			if st := states[newKey]; len(states) != 1 || st.Failures != want || st.Running != nil || st.SnapshotSeq != 0 {
				t.Errorf("states: %+v, want one with %d failures", states, want)
			}
			if k, found, err := s.HostKey(ctx, newKey); err != nil || !found || k.Fingerprint != hostKey.Fingerprint {
				t.Errorf("host key: %+v, %v, %v", k, found, err)
			}
			if _, found, err := s.HostKey(ctx, oldKey); err != nil || found {
				t.Errorf("old host key: %v, %v", found, err)
			}
		})
	}
}

func TestMoveDeviceWaitsForAnOpenSession(t *testing.T) {
	t.Parallel()
	s, ctx := store(t), natsiotest.Within(t)
	must[uint64](t)(s.PutState(ctx, "berlin.r1", backup.State{Running: &backup.Running{Until: time.Now().Add(time.Hour)}}, 0))
	if err := s.MoveDevice(ctx, "berlin.r1", device.Device{ID: "r1", Site: "paris"}); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	if _, found, err := s.Device(ctx, "paris.r1"); err != nil || found {
		t.Errorf("the device moved under its session: %v, %v", found, err)
	}
}
