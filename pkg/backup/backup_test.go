package backup

import (
	"fmt"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

func TestLadder(t *testing.T) {
	t.Parallel()
	l := DefaultLadder()
	step := func(d time.Duration) Next { return Next{Action: Again, Delay: d, Counted: true} }
	for _, tc := range []struct {
		kind     fault.Kind
		failures int
		want     Next
	}{
		{"", 0, Next{Action: Done}},
		{fault.Auth, 1, Next{Action: Stop}},
		{fault.HostKey, 1, Next{Action: Stop}},
		{fault.Unreachable, 1, step(5 * time.Minute)},
		{fault.Timeout, 2, step(15 * time.Minute)},
		{fault.Incomplete, 3, step(time.Hour)},
		{fault.Internal, 99, step(time.Hour)},
		{fault.Rejected, 1, Next{Action: Done}},
		{fault.Negotiation, 1, Next{Action: Done}},
		{fault.Permission, 1, Next{Action: Done}},
		{fault.TooLarge, 1, Next{Action: Done}},
		{fault.Infrastructure, 9, Next{Action: Again, Delay: InfrastructureDelay}},
		{"new kind", 1, step(5 * time.Minute)},
	} {
		if got := l.Next(tc.kind, tc.failures); got != tc.want {
			t.Errorf("%s, failure %d: got %+v, want %+v", tc.kind, tc.failures, got, tc.want)
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	low, high := time.Hour, time.Hour
	for i := range 1000 {
		d := Spread(time.Hour, fmt.Sprint(i))
		low, high = min(low, d), max(high, d)
	}
	if low < 54*time.Minute || low > 55*time.Minute || high > 66*time.Minute || high < 65*time.Minute {
		t.Errorf("an hour is spread over %s to %s", low, high)
	}
}

// TestServedBy: only an attempt that began after the request serves it.
func TestServedBy(t *testing.T) {
	t.Parallel()
	r := Request{Since: 7}
	for revision, want := range map[uint64]bool{0: false, 6: false, 7: false, 8: true} {
		if got := r.ServedBy(State{AttemptRevision: revision}); got != want {
			t.Errorf("attempt %d serves a request since 7: %v", revision, got)
		}
	}
}
