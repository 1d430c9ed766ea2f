package transport

import (
	"os"
	"testing"
)

func TestPrivate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode         os.FileMode
		owner, group int
		want         bool
	}{
		{0o600, 1000, 1000, true},
		{0o400, 0, 0, true},
		{0o440, 0, 2000, true},  // Kubernetes: root's, for fsGroup
		{0o440, 0, 3000, false}, // a group that is not ours
		{0o640, 0, 0, false},
		{0o640, 1000, 2000, false},
		{0o460, 0, 2000, false},
		{0o444, 0, 2000, false},
		{0o604, 1000, 1000, false},
		{0o440, -1, -1, false},
	} {
		if got := private(c.mode, c.owner, c.group, []int{1000, 2000, 0}); got != c.want {
			t.Errorf("%04o %d:%d: %v, want %v", c.mode, c.owner, c.group, got, c.want)
		}
	}
}
