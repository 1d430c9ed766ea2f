package app

import (
	"testing"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// TestVerdict: what answers a request whose device had state revision 7.
func TestVerdict(t *testing.T) {
	t.Parallel()
	block := &backup.Block{Kind: fault.Auth, Reason: "refused"}
	state := func(s backup.State) backup.Change { return backup.Change{Bucket: backup.BucketState, State: s} }
	for name, tc := range map[string]struct {
		change   backup.Change
		force    bool
		answered bool
		failed   bool
	}{
		"an attempt from before":             {state(backup.State{AttemptRevision: 7}), false, false, false},
		"one that began after":               {state(backup.State{AttemptRevision: 8}), false, true, false},
		"a block by an attempt from before":  {state(backup.State{AttemptRevision: 7, Block: block}), false, true, true},
		"a forced one waits for its outcome": {state(backup.State{AttemptRevision: 7, Block: block}), true, false, false},
		"a forced one that ends blocked":     {state(backup.State{AttemptRevision: 8, Block: block}), true, true, false},
		"the device is there":                {backup.Change{Bucket: backup.BucketDevices, Device: device.Device{Enabled: true}}, false, false, true},
		"the device is gone":                 {backup.Change{Bucket: backup.BucketDevices, Deleted: true}, false, true, true},
		"the device is disabled":             {backup.Change{Bucket: backup.BucketDevices}, false, true, true},
	} {
		asked, answered := verdict(tc.change, backup.Request{Since: 7, Force: tc.force})
		if answered != tc.answered || answered && (asked.Error != nil) != tc.failed {
			t.Errorf("%s: answered %v, %+v", name, answered, asked)
		}
	}
}
