package device

import (
	"cmp"
	"time"
)

// Site is a place with a queue of its own (KV bucket sites). Schedulers make the record, commands change it.
type Site struct {
	Name    string  `json:"name"`
	Limit   int     `json:"limit,omitempty"`   // sessions at once over the whole fleet; 0: what the settings say, -1: no limit
	Rate    float64 `json:"rate,omitempty"`    // new sessions per second over the whole fleet; 0: no limit
	Paused  *Pause  `json:"paused,omitempty"`  // nil: not paused
	Windows Windows `json:"windows,omitempty"` // when automatic backups may run; none: always
	Opened  bool    `json:"opened"`            // a limit has stood in Redis once, so its absence there means that Redis lost it
}

// Unlimited is the limit of a site that has none.
const Unlimited = -1

// Pause says that a site's queue hands out nothing until it is resumed.
type Pause struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
}

// Bounds of what a site may be told.
const (
	RateMin    = 0.001 // one new session in 1000 s; what is slower is a pause
	RateMax    = 10_000
	WindowsMax = 16
)

// Limits are what the queue holds a site to, over the whole fleet.
type Limits struct {
	Sessions int     // at once; Unlimited: no limit; 0 hands out nothing
	Rate     float64 // new sessions per second; 0: no limit
}

// Limits of the site, where fallback is the limit of sites that have none of their own.
func (s Site) Limits(fallback int) Limits {
	if s.Paused != nil {
		return Limits{Rate: s.Rate}
	}
	return Limits{Sessions: cmp.Or(s.Limit, fallback), Rate: s.Rate}
}
