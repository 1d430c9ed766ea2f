package chaos

import (
	"reflect"
	"testing"
	"time"
)

func TestRolling(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 3, 7} {
		steps, length := Rolling(5, workers)
		if len(steps) != 5*workers {
			t.Errorf("%d restarts of %d workers", len(steps), workers)
		}
		for i, s := range steps {
			if s.end() > length || i >= workers && s.At < steps[i-workers].end() {
				t.Errorf("%+v outlasts its time", s)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	if !reflect.DeepEqual(Plan(3, time.Minute, 3, 3), Plan(3, time.Minute, 3, 3)) {
		t.Error("the same seed makes two plans")
	}
	if reflect.DeepEqual(Plan(3, time.Minute, 3, 3), Plan(4, time.Minute, 3, 3)) {
		t.Error("two seeds make one plan")
	}
	for seed := range uint64(100) {
		const length = time.Minute
		seen := map[string]int{}
		steps := Plan(seed, length, 3, 3)
		for i, s := range steps {
			seen[Fault{Act: s.Act, Role: s.Role}.counted()]++
			if s.At < 0 || s.end() > length {
				t.Errorf("seed %d: %+v outlasts the plan", seed, s)
			}
			for _, o := range steps[:i] {
				if o.Role == s.Role && o.Index == s.Index && s.At < o.end() {
					t.Errorf("seed %d: %+v while %+v", seed, s, o)
				}
			}
		}
		if steps[0].Act != Stop || steps[1].Act != Stop || steps[2].Act != Flush || steps[2].At > steps[0].end()-NoticeDelay {
			t.Errorf("seed %d: nothing betrays a missing lock: %v", seed, steps[:3])
		}
		for _, sort := range []string{"worker", "scheduler", "redis", "nats", "stop", "term", "flush"} {
			if seen[sort] == 0 {
				t.Errorf("seed %d: no %s in %v", seed, sort, seen)
			}
		}
	}
}
