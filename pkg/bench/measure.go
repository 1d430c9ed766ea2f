package bench

import "time"

// Usage is what a process has used at one moment.
type Usage struct {
	CPU  time.Duration // user and system, of all its threads
	RSS  int64         // resident bytes now
	Peak int64         // and at most so far
}

// Plus is what both have used together.
func (u Usage) Plus(o Usage) Usage {
	return Usage{CPU: u.CPU + o.CPU, RSS: u.RSS + o.RSS, Peak: u.Peak + o.Peak}
}

// Machine is how the time of all CPUs has been spent since the machine was started.
type Machine struct {
	All  time.Duration
	Idle time.Duration
}

// Sweep is what one sweep over the fleet took.
type Sweep struct {
	Devices    int           `json:"devices"`
	Drain      time.Duration `json:"drain"` // from the first router taken to the last one done
	CPU        time.Duration `json:"cpu"`
	Idle       int64         `json:"idle"` // resident bytes before it
	Peak       int64         `json:"peak"` // and at most
	Bytes      int64         `json:"bytes"`
	Mallocs    float64       `json:"mallocs"`
	AllocBytes float64       `json:"alloc_bytes"`

	// Of confhaul's sweeps only.
	Ask       time.Duration         `json:"-"` // from the first request to the last
	Redis     time.Duration         `json:"-"` // CPU time of the other processes while the sweep ran; 0: not known
	NATS      time.Duration         `json:"-"`
	Scheduler time.Duration         `json:"-"`
	Stages    map[string]StageTimes `json:"-"`

	Simulator time.Duration `json:"-"`
	Self      time.Duration `json:"-"` // the process that measures
	Machine   Machine       `json:"-"` // while the sweep ran
}

// others is the CPU time of whoever else was busy on the machine.
func (s Sweep) others() time.Duration {
	return max(s.Machine.All-s.Machine.Idle-s.CPU-s.Redis-s.NATS-s.Scheduler-s.Simulator-s.Self, 0)
}
