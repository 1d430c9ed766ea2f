package stream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	l := newLedger()
	for _, seq := range []uint64{9, 2, 5, 5, 7} { // in any order, and twice
		l.add(entry{"a", seq, fmt.Sprint("o", seq/5)})
	}
	l.add(entry{"b", 3, ""})
	l.add(entry{"b", 4, ""})
	seqs := func(keep, limit int) (out []uint64) {
		for _, e := range l.surplus(keep, limit) {
			out = append(out, e.seq)
		}
		slices.Sort(out)
		return out
	}
	for _, tt := range []struct {
		keep, limit int
		want        []uint64
	}{{keepUsual, 10, []uint64{2}}, {keepHigh, 10, []uint64{2, 3, 5, 7}}, {keepUsual, 0, nil}} {
		if got := seqs(tt.keep, tt.limit); !slices.Equal(got, tt.want) {
			t.Errorf("keep %d of at most %d: got %v, want %v", tt.keep, tt.limit, got, tt.want)
		}
	}
	if got := seqs(keepHigh, 2); len(got) != 2 {
		t.Errorf("a limit of 2 gives %v", got)
	}
	l.remove(entry{"a", 2, ""})
	l.remove(entry{"a", 5, ""})
	if !l.names("a", "o1") || l.names("a", "o0") {
		t.Error("7 and 9 name o1, nothing names o0")
	}
	if got := seqs(keepUsual, 10); got != nil {
		t.Errorf("after removal: %v", got)
	}
}

// TestSweep leaves the objects that a message names and those of a worker that may be about to publish.
func TestSweep(t *testing.T) {
	t.Parallel()
	conn := natsiotest.Connect(t, natsiotest.StartServer(t))
	ctx := natsiotest.Within(t)
	s, err := Open(ctx, conn, Options{SnapshotBytes: 1 << 20, EventBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"named", "orphan"} {
		if _, err := s.large.PutBytes(ctx, name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.JetStream().Publish(ctx, largePrefix+"a.r1", []byte(`{"object":"named"}`)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		age  time.Duration
		want int
	}{{orphanAge, 2}, {0, 1}} {
		c := &consumption{Stream: s, name: SnapshotStream, ledger: newLedger(), orphan: tt.age}
		if err := c.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if left, err := s.large.List(ctx); err != nil || len(left) != tt.want || left[0].Name != "named" {
			t.Errorf("from %s on: %d left, want %d: %v", tt.age, len(left), tt.want, err)
		}
	}
}
