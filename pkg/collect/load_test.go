package collect

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/routersim"
)

func TestCollectCancelled(t *testing.T) {
	t.Parallel()
	stopping := errors.New("worker stops")
	for _, tt := range []struct {
		fault routersim.Fault
		until func([]routersim.Session) bool
		step  string
	}{
		{routersim.SilentAfterAccept, func(s []routersim.Session) bool { return len(s) == 1 }, ""}, // dial or handshake
		{routersim.StallMidExport, func(s []routersim.Session) bool { return len(s) == 1 && s[0].Bytes > 0 }, "export: "},
	} {
		t.Run(tt.fault.String(), func(t *testing.T) {
			t.Parallel()
			f, r := lone(t, v7, 0, tt.fault)
			ctx, cancel := context.WithCancelCause(t.Context())
			got := make(chan error, 1)
			c := New(Options{})
			go func() {
				e, err := c.Collect(ctx, orderFor(r))
				e.Release()
				got <- err
			}()
			wait, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			if err := f.WaitSessions(wait, tt.until); err != nil {
				t.Fatal(err)
			}
			cancel(stopping)
			select {
			case err := <-got:
				if _, ours := errors.AsType[*fault.Error](err); ours || !errors.Is(err, stopping) || !strings.HasPrefix(err.Error(), tt.step) {
					t.Errorf("error = %v, want %s%v", err, tt.step, stopping)
				}
			case <-wait.Done():
				t.Fatal("a cancelled collection goes on")
			}
			closed := func(s []routersim.Session) bool { return !s[0].Open }
			if err := f.WaitSessions(wait, closed); err != nil {
				t.Errorf("the connection stays open: %v", err)
			}
			if used := c.memory.used.Load(); used != 0 {
				t.Errorf("%d bytes still counted", used)
			}
		})
	}
}

func TestCollectManyAtOnce(t *testing.T) {
	t.Parallel()
	f := fleet(t, routersim.Options{Devices: 24, Size: 60_000})
	c := New(Options{})
	for range 2 { // the second time with buffers that were used before
		var wg sync.WaitGroup
		for _, r := range f.Routers() {
			wg.Go(func() {
				e, err := c.Collect(t.Context(), orderFor(r))
				if err != nil {
					t.Errorf("%s: %v", r.ID(), err)
					return
				}
				if want := routeros.Normalize(nil, []byte(r.Export())); string(e.Normal) != string(want) {
					t.Errorf("%s: the normal form is not its own", r.ID())
				}
				e.Release()
				e.Release()
			})
		}
		wg.Wait()
		if used := c.memory.used.Load(); used != 0 {
			t.Errorf("%d bytes still counted", used)
		}
	}
}

func TestCollectKeepsCountUntilRelease(t *testing.T) {
	t.Parallel()
	_, r := lone(t, v7, 20_000, routersim.NoFault)
	c := New(Options{Budget: 3 * bufferMin})
	held, err := c.Collect(t.Context(), orderFor(r))
	if err != nil {
		t.Fatal(err)
	}
	if used := c.memory.used.Load(); used != 2*bufferMin {
		t.Errorf("%d bytes counted, want %d", used, 2*bufferMin)
	}
	refused, err := c.Collect(t.Context(), orderFor(r))
	defer refused.Release()
	wantFault(t, err, fault.Infrastructure)
	wantExport(t, held, r)
	held.Release()
	again, err := c.Collect(t.Context(), orderFor(r))
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}

// TestMemoryKeeps: what is kept is bounded and is used again, but not a large buffer for a small export.
func TestMemoryKeeps(t *testing.T) {
	t.Parallel()
	m := &memory{limit: 1 << 30}
	var all [][]byte
	for range 2 * keptMax / bufferMax {
		b, err := m.take(bufferMax)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	for _, b := range all {
		m.give(b)
	}
	if used := m.used.Load(); used != 0 || m.idle != keptMax || len(m.kept) != keptMax/bufferMax {
		t.Errorf("%d bytes counted, %d kept in %d buffers", used, m.idle, len(m.kept))
	}
	if b := m.reuse(bufferMax / 2); cap(b) != bufferMax || m.idle != keptMax-bufferMax {
		t.Errorf("a buffer of %d, %d bytes kept", cap(b), m.idle)
	}
	if b := m.reuse(bufferMin); b != nil {
		t.Errorf("a buffer of %d for %d bytes", cap(b), bufferMin)
	}
	m.give(make([]byte, 0, bufferMax+1))
	if m.idle != keptMax-bufferMax {
		t.Error("one that is too large is kept")
	}
}
