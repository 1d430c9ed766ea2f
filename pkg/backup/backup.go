// Package backup has the nouns of one backup: the task that asks for it, the state it leaves, the events it publishes,
// and what follows each kind of failure.
package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

// TaskType is the asynq type of every backup task.
const TaskType = "backup:device"

// TaskVersion is the V of the payloads this binary writes, and the highest it reads.
const TaskVersion = 1

// Reason says why a task was made.
type Reason string

// The reasons.
const (
	ReasonSlot    Reason = "slot"    // its time has come
	ReasonRequest Reason = "request" // somebody asked
)

// Task is the payload of a backup task. It holds no address and no secret: the worker reads the device when it runs.
type Task struct {
	V      int    `json:"v"`
	Device string `json:"device"`
	Slot   int64  `json:"slot"` // due time in unix seconds
	Reason Reason `json:"reason"`
	// Ticket tells this task from every other one that the device ever had; the queue sets it.
	Ticket string `json:"ticket,omitempty"`
	// Online is what the device's status key said when the queue handed the task out: "" where there is none.
	Online string `json:"-"`
}

// TaskID is constant per device, so that a device has one outstanding task at most.
func TaskID(deviceID string) string { return "backup:" + deviceID }

// ErrNewerTask is what DecodeTask returns for a payload of a newer binary: put it back for one that can read it.
var ErrNewerTask = errors.New("the task was made by a newer version")

// Encode gives the payload's bytes.
func (t Task) Encode() []byte {
	t.V = TaskVersion
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return b
}

// DecodeTask reads a payload.
func DecodeTask(b []byte) (Task, error) {
	var t Task
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("decode task: %w", err)
	}
	if t.V > TaskVersion {
		return t, fmt.Errorf("task version %d: %w", t.V, ErrNewerTask)
	}
	return t, nil
}

// Action is what the queue does with a task after its handler.
type Action int

// The actions.
const (
	Done  Action = iota // the task is finished
	Again               // the same task runs again after Delay
	Stop                // the task is set aside until the block is lifted
)

// Next is a decision about a task.
type Next struct {
	Action  Action
	Delay   time.Duration // of Again
	Counted bool          // whether Again counts as a failure of the device
}

// Delays that do not follow the ladder.
const (
	InfrastructureDelay = 30 * time.Second // our own fault: the router is not to blame
	BusyDelay           = 30 * time.Second // another worker's running mark is live
	NewerDelay          = 30 * time.Second // a newer version's task
	LostLeaseDelay      = 30 * time.Second // a worker died
	OldVersionDelay     = 5 * time.Second  // this worker has not read the changed credential yet; another one has
)

// Ladder is the delays after the first, second, ... failure in a row; the last one repeats.
type Ladder []time.Duration

// DefaultLadder suits routers whose firewall bans an address that connects too often.
func DefaultLadder() Ladder { return Ladder{5 * time.Minute, 15 * time.Minute, time.Hour} }

// Next decides what follows a failure of the given kind, the failures-th in a row (from 1). The empty kind is success.
func (l Ladder) Next(kind fault.Kind, failures int) Next {
	switch kind {
	case "":
		return Next{Action: Done}
	case fault.Auth, fault.HostKey:
		return Next{Action: Stop}
	case fault.Rejected, fault.Negotiation, fault.Permission, fault.TooLarge:
		return Next{Action: Done} // trying again at once changes nothing: the next slot does
	case fault.Infrastructure:
		return Next{Action: Again, Delay: InfrastructureDelay}
	}
	if Sabotaged("ladder") {
		return Next{Action: Again, Delay: time.Second, Counted: true}
	}
	step := min(max(failures, 1), len(l)) - 1
	return Next{Action: Again, Delay: l[step], Counted: true}
}

// Reached is the step for a device that has been waited for this long, one step after the other: it needs no memory of them.
func (l Ladder) Reached(waited time.Duration) time.Duration {
	for _, step := range l {
		if waited < step {
			return step
		}
		waited -= step
	}
	return l[len(l)-1]
}

// Spread moves d by up to 10 % either way, by a hash of key, so that devices that failed together do not return together.
func Spread(d time.Duration, key string) time.Duration {
	const steps = 2001
	return d + time.Duration((float64(Hash(key)%steps)/(steps-1)-0.5)*0.2*float64(d))
}

// Hash is the stable 64-bit hash behind every spread in time, so that all processes agree.
func Hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	x := h.Sum64() // FNV alone leaves the high bits of similar short keys close together
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// Standing is where a device's task stands in the queue.
type Standing string

// The standings. A task in asynq's retry set counts as scheduled.
const (
	Absent    Standing = "absent"
	Scheduled Standing = "scheduled"
	Pending   Standing = "pending"
	Active    Standing = "active"
)
