package bench

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Traffic is what Redis and NATS have done since they were started.
type Traffic struct {
	Commands   float64            // of Redis, with those in scripts
	ByCommand  map[string]float64 // the same by name
	ToNATS     int64              // messages
	FromNATS   int64
	RedisBytes int64 // in use
	RedisKeys  int64
}

// ReadRedis takes what INFO says; without fields, as of miniredis, nothing is known.
func (t *Traffic) ReadRedis(info map[string]string) {
	t.Commands = number(info["total_commands_processed"])
	t.RedisBytes = int64(number(info["used_memory"]))
	t.ByCommand = map[string]float64{}
	for name, value := range info {
		if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
			t.ByCommand[command] = number(field(value, "calls"))
		}
		if strings.HasPrefix(name, "db") {
			t.RedisKeys += int64(number(field(value, "keys")))
		}
	}
}

// field is one of a list such as calls=1,usec=2.
func field(list, name string) string {
	for pair := range strings.SplitSeq(list, ",") {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// number is 0 where the server does not say.
func number(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return v
}

// IdleVersion changes where a field of IdleReport changes its meaning.
const IdleVersion = 1

// IdleReport is what confhaul costs while nothing is due, as -o json has it. Its fields stay.
type IdleReport struct {
	Head
	Sites   int     `json:"sites"`
	Devices int     `json:"devices"`
	Seconds float64 `json:"seconds"` // that were measured

	Processes           map[string]IdleUse `json:"processes"`
	RedisCommandsPerS   float64            `json:"redis_commands_per_s"` // with those in scripts
	RedisCommands       map[string]float64 `json:"redis_commands"`       // per second, by name
	NATSMessagesInPerS  float64            `json:"nats_messages_in_per_s"`
	NATSMessagesOutPerS float64            `json:"nats_messages_out_per_s"`
}

// IdleUse is what a process uses.
type IdleUse struct {
	CPUsPerHour float64 `json:"cpu_s_per_hour"`
	RSSmb       float64 `json:"rss_mb"` // at the end
}

// Fill compares two looks.
func (r *IdleReport) Fill(first, last Moment, before, after Traffic) {
	took := last.At.Sub(first.At)
	r.Seconds = round(took.Seconds())
	perS := func(n float64) float64 { return round(n / max(took.Seconds(), 1e-9)) }
	r.Processes, r.RedisCommands = map[string]IdleUse{}, map[string]float64{}
	for name, u := range last.Processes {
		r.Processes[name] = IdleUse{
			CPUsPerHour: perS((u.CPU - first.Processes[name].CPU).Seconds() * time.Hour.Seconds()), RSSmb: round(float64(u.RSS) / 1e6),
		}
	}
	r.RedisCommandsPerS = perS(after.Commands - before.Commands)
	for name, n := range after.ByCommand {
		if n > before.ByCommand[name] {
			r.RedisCommands[name] = perS(n - before.ByCommand[name])
		}
	}
	r.NATSMessagesInPerS = perS(float64(after.ToNATS - before.ToNATS))
	r.NATSMessagesOutPerS = perS(float64(after.FromNATS - before.FromNATS))
}

// Busiest lists Redis' commands, the most frequent first.
func (r IdleReport) Busiest() []string {
	return slices.SortedFunc(maps.Keys(r.RedisCommands), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.RedisCommands[b], r.RedisCommands[a]), cmp.Compare(a, b))
	})
}
