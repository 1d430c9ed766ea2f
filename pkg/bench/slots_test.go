package bench

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

const slotsMetrics = `confhaul_worker_backups_total{kind="",result="changed",site="riga"} 3
confhaul_worker_backups_total{kind="",result="unchanged",site="oslo"} 4
confhaul_worker_backups_total{kind="timeout",result="failed",site="oslo"} 2
confhaul_worker_backups_total{kind="auth",result="blocked",site="oslo"} 1
confhaul_devices{status="ok"} 8
confhaul_devices{status="pending"} 2
confhaul_devices_never_backed_up 1
confhaul_device_oldest_overdue_seconds 12.5
confhaul_archiver_behind{stream="snapshots"} 5
confhaul_archiver_behind{stream="events"} 9
`

func TestMomentSees(t *testing.T) {
	t.Parallel()
	metrics, err := ReadMetrics(strings.NewReader(slotsMetrics))
	if err != nil {
		t.Fatal(err)
	}
	var m Moment
	m.See(metrics)
	want := Moment{Good: 7, Failed: map[string]float64{"timeout": 2, "auth": 1}, Devices: 10, Never: 1, Overdue: 12.5, Behind: 5}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v, want %+v", m, want)
	}
	m.See(Metrics{`confhaul_worker_backups_total{kind="",result="changed",site="riga"}`: 1}) // another worker
	if m.Good != 8 || m.Overdue != 12.5 || m.Never != 1 {
		t.Errorf("with another worker: %+v", m)
	}
	for fresh, m := range map[bool][]Moment{
		true:  {{Devices: 10, Never: 1}, {Devices: 9}, {}},
		false: {{Devices: 10}},
	} {
		for _, one := range m {
			if one.Fresh(10) != fresh {
				t.Errorf("%+v: fresh is %v", one, !fresh)
			}
		}
	}
}

func TestNewRound(t *testing.T) {
	t.Parallel()
	began := time.Unix(1_800_000_000, 0)
	look := func(s int, good, failed float64, mb int64) Moment {
		d := time.Duration(s) * time.Second
		return Moment{
			At: began.Add(d), Good: good, Failed: map[string]float64{"timeout": failed, "auth": 1}, Overdue: float64(s % 7), Behind: good / 10,
			Machine: Machine{All: 2 * d, Idle: d / 2},
			Processes: map[string]Usage{
				ProcessWorker: {CPU: d / 4, RSS: mb * 1e6}, ProcessScheduler: {CPU: d / 8, RSS: 5e6}, ProcessNATS: {CPU: d / 2, RSS: 7e6},
			},
		}
	}
	r := NewRound([]Moment{look(0, 100, 3, 40), look(4, 200, 3, 90), look(6, 250, 3, 60), look(8, 300, 5, 50)})
	if r.Seconds != 8 || r.Backups != 200 || r.DevicesPerS != 25 || r.Unarchived != 30 || r.OverdueMaxS != 6 {
		t.Errorf("got %+v", r)
	}
	if r.Cores != 0.375 || r.DevicesPerCore != round(200.0/3) || r.MachineBusyPct != 75 || r.DevicesPerBusy != round(200.0/12) {
		t.Errorf("cores %v, %v per core, machine %v %%, %v", r.Cores, r.DevicesPerCore, r.MachineBusyPct, r.DevicesPerBusy)
	}
	if !reflect.DeepEqual(r.Failed, map[string]int{"timeout": 2}) || r.Total() != 2 || !slices.Equal(r.Kinds(), []string{"timeout"}) {
		t.Errorf("failed %v", r.Failed)
	}
	if got, want := r.Processes[ProcessWorker], (ProcessUse{CPUms: 10, Cores: 0.25, First: 40, Middle: 60, Last: 50, Peak: 90}); got != want {
		t.Errorf("worker %+v, want %+v", got, want)
	}
}

func TestLateness(t *testing.T) {
	t.Parallel()
	const interval = time.Hour
	d := device.Device{ID: "router-0001", Site: "riga"}
	offset := time.Duration(backup.Hash(d.ID)%3600) * time.Second
	slot := time.Unix(1_800_000_000/3600*3600, 0).Add(offset)
	for after, want := range map[time.Duration]time.Duration{
		0: 0, 90 * time.Second: 90 * time.Second, interval - 1: interval - 1, interval: 0, interval + time.Second: time.Second,
	} {
		if got := Lateness(d, slot.Add(after), interval); got != want {
			t.Errorf("%s after its slot: %s late", after, got)
		}
	}
	d.FirstSeen = slot.Add(10*time.Minute - time.Duration(backup.Hash(d.ID)%uint64(interval)))
	if got := Lateness(d, slot.Add(11*time.Minute), interval).Round(time.Second); got < time.Minute || got > time.Minute+time.Second {
		t.Errorf("a minute after its first slot: %s late", got)
	}
	if got := Lateness(d, slot.Add(9*time.Minute), interval); got != 9*time.Minute {
		t.Errorf("before its first slot: %s late", got)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const interval = time.Minute
	var devices []device.Device
	states := map[string]backup.State{}
	for i := range 10 {
		d := device.Device{ID: string(rune('a' + i)), Site: "riga"}
		devices = append(devices, d)
		slot := time.Unix(1_800_000_000/60*60+int64(backup.Hash(d.ID)%60), 0)
		states[d.Key()] = backup.State{Result: backup.ResultUnchanged, GoodStarted: slot.Add(time.Duration(i) * time.Second)}
	}
	bad := states[devices[3].Key()]
	bad.Result, bad.Kind, bad.Reason = backup.ResultFailed, fault.Timeout, "no answer"
	states[devices[3].Key()] = bad
	delete(states, devices[9].Key())
	var r Round
	r.Judge(devices, states, interval)
	if r.LateP50S != 4 || r.LateP99S != 8 || r.NotGood != 2 || !slices.Equal(r.Reasons, []string{"d: failing no answer", "j: pending"}) {
		t.Errorf("got %+v", r)
	}
	var none Round
	none.Judge(devices, nil, interval)
	if none.NotGood != 10 || len(none.Reasons) != reasonsMax || none.LateP99S != 0 {
		t.Errorf("of a fleet that nobody backed up: %+v", none)
	}
}

func TestPerDevice(t *testing.T) {
	t.Parallel()
	s := Stored{RedisBytes: 100, ArchiveBytes: 50, Streams: map[string]StreamStorage{"a": {Messages: 30, Bytes: 70}, "b": {Bytes: 5}}}
	s.PerDevice(10)
	if s.RedisBytesPerDevice != 10 || s.ArchiveBytesPerDevice != 5 || s.StreamBytesPerDevice != 7.5 || s.Streams["a"].MessagesPerDevice != 3 || s.Streams["a"].BytesPerDevice != 7 {
		t.Errorf("got %+v", s)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	var before, after Traffic
	before.ReadRedis(map[string]string{"total_commands_processed": "100", "cmdstat_get": "calls=50,usec=1", "cmdstat_ping": "calls=7"})
	after.ReadRedis(map[string]string{
		"total_commands_processed": "700", "cmdstat_get": "calls=250,usec=9", "cmdstat_ping": "calls=7", "cmdstat_eval": "calls=100,usec=3",
		"db0": "keys=12,expires=3", "used_memory": "4096",
	})
	before.FromNATS, after.FromNATS, after.ToNATS = 5, 25, 40
	if after.RedisKeys != 12 || after.RedisBytes != 4096 {
		t.Errorf("read %+v", after)
	}
	at := time.Unix(1_800_000_000, 0)
	first := Moment{At: at, Processes: map[string]Usage{ProcessWorker: {CPU: time.Second}}}
	last := Moment{At: at.Add(20 * time.Second), Processes: map[string]Usage{ProcessWorker: {CPU: 2 * time.Second, RSS: 3e6}}}
	var r IdleReport
	r.Fill(first, last, before, after)
	if r.Seconds != 20 || r.RedisCommandsPerS != 30 || r.NATSMessagesInPerS != 2 || r.NATSMessagesOutPerS != 1 {
		t.Errorf("got %+v", r)
	}
	if got, want := r.Processes[ProcessWorker], (IdleUse{CPUsPerHour: 180, RSSmb: 3}); got != want {
		t.Errorf("worker %+v, want %+v", got, want)
	}
	if !reflect.DeepEqual(r.RedisCommands, map[string]float64{"get": 10, "eval": 5}) || !slices.Equal(r.Busiest(), []string{"get", "eval"}) {
		t.Errorf("commands %v, %v", r.RedisCommands, r.Busiest())
	}
}
