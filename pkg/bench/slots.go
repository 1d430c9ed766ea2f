package bench

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// The processes of a whole confhaul, as reports name them. ProcessNames lists them.
const (
	ProcessWorker    = "worker" // all workers together
	ProcessScheduler = "scheduler"
	ProcessArchiver  = "archiver"
	ProcessRedis     = "redis"
	ProcessNATS      = "nats"
	ProcessSimulator = "simulator"
	ProcessBench     = "bench" // the one that measures
)

// ProcessNames lists the processes in the order in which they are printed, confhaul's own first.
func ProcessNames() []string {
	return []string{ProcessWorker, ProcessScheduler, ProcessArchiver, ProcessRedis, ProcessNATS, ProcessSimulator, ProcessBench}
}

// product says whether the process is one of confhaul's.
func product(name string) bool {
	return name == ProcessWorker || name == ProcessScheduler || name == ProcessArchiver
}

// Moment is one look at everything that runs.
type Moment struct {
	At        time.Time
	Processes map[string]Usage
	Machine   Machine
	Good      float64            // backups with a proven export so far
	Failed    map[string]float64 // and the others, by kind of fault
	Devices   float64            // that the scheduler knows
	Never     float64            // of them without any proven export
	Overdue   float64            // seconds by which the latest of them is late
	Behind    float64            // snapshots that are not archived yet
}

// Fresh says whether the fleet is not yet backed up: some device has no proven export, or is not even known.
func (m Moment) Fresh(devices int) bool { return m.Devices < float64(devices) || m.Never > 0 }

const (
	backupsMetric = "confhaul_worker_backups_total{"
	devicesMetric = "confhaul_devices{"
)

// See adds what the metrics of one process say.
func (m *Moment) See(metrics Metrics) {
	if m.Failed == nil {
		m.Failed = map[string]float64{}
	}
	for name, v := range metrics {
		switch {
		case strings.HasPrefix(name, backupsMetric):
			if backup.Result(label(name, "result")).Good() {
				m.Good += v
			} else {
				m.Failed[label(name, "kind")] += v
			}
		case strings.HasPrefix(name, devicesMetric):
			m.Devices += v
		}
	}
	m.Never += metrics["confhaul_devices_never_backed_up"]
	m.Overdue = max(m.Overdue, metrics["confhaul_device_oldest_overdue_seconds"])
	m.Behind = max(m.Behind, metrics[`confhaul_archiver_behind{stream="snapshots"}`])
}

// label is the value of a label in the name of a sample, as far as confhaul writes them: nothing in it is escaped.
func label(sample, name string) string {
	_, rest, ok := strings.Cut(sample, name+`="`)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// Stored is what is kept for the fleet at one moment.
type Stored struct {
	RedisKeys    int64                    `json:"redis_keys"`
	RedisBytes   int64                    `json:"redis_bytes"` // used_memory
	Streams      map[string]StreamStorage `json:"streams"`     // with the buckets, which are streams too
	ArchiveBytes int64                    `json:"archive_bytes"`

	// The same per device of the fleet.
	RedisBytesPerDevice   float64 `json:"redis_bytes_per_device"`
	StreamBytesPerDevice  float64 `json:"stream_bytes_per_device"`
	ArchiveBytesPerDevice float64 `json:"archive_bytes_per_device"`
}

// StreamStorage is what one stream holds.
type StreamStorage struct {
	Messages          uint64  `json:"messages"`
	Bytes             uint64  `json:"bytes"`
	MessagesPerDevice float64 `json:"messages_per_device"`
	BytesPerDevice    float64 `json:"bytes_per_device"`
}

// PerDevice fills in what there is per device.
func (s *Stored) PerDevice(devices int) {
	per := func(n float64) float64 { return round(n / float64(max(devices, 1))) }
	var bytes uint64
	for name, stream := range s.Streams {
		bytes += stream.Bytes
		stream.MessagesPerDevice, stream.BytesPerDevice = per(float64(stream.Messages)), per(float64(stream.Bytes))
		s.Streams[name] = stream
	}
	s.RedisBytesPerDevice, s.StreamBytesPerDevice = per(float64(s.RedisBytes)), per(float64(bytes))
	s.ArchiveBytesPerDevice = per(float64(s.ArchiveBytes))
}

// Round is what happened while each device had one slot.
type Round struct {
	Seconds        float64               `json:"seconds"`
	Backups        int                   `json:"backups"` // with a proven export
	DevicesPerS    float64               `json:"devices_per_s"`
	Cores          float64               `json:"cores"`                 // that worker, scheduler and archiver were busy on
	DevicesPerCore float64               `json:"devices_per_core_s"`    // per second of their CPU time
	MachineBusyPct float64               `json:"machine_busy_pct"`      // of all CPUs, by whomever
	DevicesPerBusy float64               `json:"devices_per_machine_s"` // per second of CPU time of the machine
	OverdueMaxS    float64               `json:"overdue_max_s"`         // how late the latest device was, as the scheduler saw it
	LateP50S       float64               `json:"late_p50_s"`            // start of each device's last proven export after its slot
	LateP99S       float64               `json:"late_p99_s"`
	Unarchived     int                   `json:"unarchived"` // snapshots still to be archived at the end
	NotGood        int                   `json:"not_good"`   // devices whose last attempt had failed at the end, or that had none
	Reasons        []string              `json:"reasons,omitempty"`
	Failed         map[string]int        `json:"failed"` // attempts without a proven export, by kind of fault
	Processes      map[string]ProcessUse `json:"processes"`
	Stored         Stored                `json:"stored"`
}

// ProcessUse is what a process used in a round. Its memory is that at the beginning, the middle and the end, and at most at
// any look.
type ProcessUse struct {
	CPUms  float64 `json:"cpu_ms"` // per backup
	Cores  float64 `json:"cores"`
	First  float64 `json:"rss_first_mb"`
	Middle float64 `json:"rss_middle_mb"`
	Last   float64 `json:"rss_last_mb"`
	Peak   float64 `json:"rss_peak_mb"`
}

// NewRound compares the looks of a round, of which there are at least two.
func NewRound(moments []Moment) Round {
	first, last := moments[0], moments[len(moments)-1]
	took := last.At.Sub(first.At)
	r := Round{
		Seconds: round(took.Seconds()), Backups: int(last.Good - first.Good), Unarchived: int(last.Behind),
		Failed: map[string]int{}, Processes: map[string]ProcessUse{},
	}
	r.DevicesPerS = round(perSecond(r.Backups, took))
	for kind, n := range last.Failed {
		if n > first.Failed[kind] {
			r.Failed[kind] = int(n - first.Failed[kind])
		}
	}
	var own time.Duration
	for name := range last.Processes {
		cpu := last.Processes[name].CPU - first.Processes[name].CPU
		if product(name) {
			own += cpu
		}
		r.Processes[name] = processUse(name, moments, cpu, took, r.Backups)
	}
	machine := Machine{All: last.Machine.All - first.Machine.All, Idle: last.Machine.Idle - first.Machine.Idle}
	busy := machine.All - machine.Idle
	r.Cores, r.DevicesPerCore = cores(own, took), round(perSecond(r.Backups, own))
	r.MachineBusyPct = round(100 * float64(busy) / float64(max(machine.All, 1)))
	r.DevicesPerBusy = round(perSecond(r.Backups, busy))
	for _, m := range moments {
		r.OverdueMaxS = max(r.OverdueMaxS, round(m.Overdue))
	}
	return r
}

func processUse(name string, moments []Moment, cpu, took time.Duration, backups int) ProcessUse {
	mb := func(m Moment) float64 { return round(float64(m.Processes[name].RSS) / 1e6) }
	u := ProcessUse{
		CPUms: round(float64(cpu) / 1e6 / float64(max(backups, 1))), Cores: cores(cpu, took),
		First: mb(moments[0]), Middle: mb(moments[len(moments)/2]), Last: mb(moments[len(moments)-1]),
	}
	for _, m := range moments {
		u.Peak = max(u.Peak, mb(m))
	}
	return u
}

func cores(cpu, took time.Duration) float64 { return round(float64(cpu) / float64(max(took, 1))) }

// reasonsMax bounds the failures that a round names.
const reasonsMax = 3

// Judge looks at what is known of every device at the end of the round.
func (r *Round) Judge(devices []device.Device, states map[string]backup.State, interval time.Duration) {
	var late []time.Duration
	for _, d := range devices {
		s := states[d.Key()]
		if !s.Result.Good() {
			r.NotGood++
			if len(r.Reasons) < reasonsMax {
				r.Reasons = append(r.Reasons, d.ID+": "+strings.TrimSpace(string(s.Status())+" "+s.Reason))
			}
		}
		if !s.GoodStarted.IsZero() {
			late = append(late, Lateness(d, s.GoodStarted, interval))
		}
	}
	slices.Sort(late)
	r.LateP50S, r.LateP99S = round(at(late, 0.5).Seconds()), round(at(late, 0.99).Seconds())
}

// at is a quantile of what is sorted.
func at(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// Lateness is the time from the latest slot to started: from that of the timetable, or where it came later from the first one
// of a new device, where the jitter is from 0 to the interval.
func Lateness(d device.Device, started time.Time, interval time.Duration) time.Duration {
	seconds := max(int64(interval/time.Second), 1)
	offset := int64(backup.Hash(d.ID) % uint64(seconds))
	slot := time.Unix((started.Unix()-offset)/seconds*seconds+offset, 0)
	first := d.FirstSeen.Add(time.Duration(backup.Hash(d.ID) % uint64(max(interval, 1)))).Truncate(time.Second)
	if first.After(slot) && !first.After(started) {
		slot = first
	}
	return started.Sub(slot)
}

// SlotsVersion changes where a field of SlotsReport changes its meaning.
const SlotsVersion = 1

// SlotsReport is a finished run by slots, as -o json has it. Its fields stay.
type SlotsReport struct {
	Head
	Load      Load    `json:"load"`
	Workers   int     `json:"workers"`
	IntervalS float64 `json:"interval_s"`

	FreshS float64 `json:"fresh_s"` // from the start of the scheduler until each router had a proven export; 0: not within the rounds
	Rounds []Round `json:"rounds"`
	All    Round   `json:"all"` // from the first look to the last
}

// Total counts the failures of a round.
func (r Round) Total() (n int) {
	for _, count := range r.Failed {
		n += count
	}
	return n
}

// Kinds lists the kinds of fault in it.
func (r Round) Kinds() []string { return slices.Sorted(maps.Keys(r.Failed)) }
