package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/bench"
)

// moment looks at every process, and at the metrics of those of confhaul.
func (h *benchHouse) moment(ctx context.Context) (m bench.Moment, err error) {
	m = bench.Moment{At: time.Now(), Processes: map[string]bench.Usage{}}
	if m.Machine, err = bench.MachineNow(); err != nil {
		return m, err
	}
	for name, pid := range h.pids() {
		if m.Processes[name], err = bench.UsageOf(pid); err != nil {
			return m, err
		}
	}
	for _, p := range append([]*benchProcess{h.scheduler}, h.others...) {
		name, _, _ := strings.Cut(p.Name(), " ") // worker 1, worker 2
		u, err := bench.UsageOf(p.PID())
		if err != nil {
			return m, err
		}
		m.Processes[name] = m.Processes[name].Plus(u)
		metrics, err := bench.Scrape(ctx, p.address)
		if err != nil {
			return m, fmt.Errorf("look at the metrics of %s: %w", p.Name(), err)
		}
		m.See(metrics)
	}
	return m, nil
}

// pids are the processes that are none of confhaul's; miniredis is in this one.
func (h *benchHouse) pids() map[string]int {
	out := map[string]int{bench.ProcessBench: os.Getpid(), bench.ProcessNATS: h.nats.PID()}
	if pid := h.redis.PID(); pid != 0 {
		out[bench.ProcessRedis] = pid
	}
	if h.fleet != nil {
		out[bench.ProcessSimulator] = h.fleet.PID()
	}
	return out
}

// judge reads the states of all devices once, and what is stored for them.
func (h *benchHouse) judge(ctx context.Context, r *bench.Round, interval time.Duration) error {
	states, err := h.parts.Store.States(ctx)
	if err != nil {
		return err
	}
	r.Judge(h.devices, states, interval)
	r.Stored, err = h.stored(ctx)
	return err
}

// answerTimeout bounds one question to Redis, NATS and its streams.
const answerTimeout = time.Minute

func (h *benchHouse) stored(ctx context.Context) (s bench.Stored, err error) {
	traffic, err := h.traffic(ctx)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no list of streams within %s", answerTimeout))
	defer cancel()
	s = bench.Stored{RedisBytes: traffic.RedisBytes, RedisKeys: traffic.RedisKeys, Streams: map[string]bench.StreamStorage{}}
	streams := h.parts.Conn.JetStream().ListStreams(ctx)
	for info := range streams.Info() {
		s.Streams[info.Config.Name] = bench.StreamStorage{Messages: info.State.Msgs, Bytes: info.State.Bytes}
	}
	if err := streams.Err(); err != nil {
		return s, errors.Join(err, context.Cause(ctx))
	}
	if s.ArchiveBytes, err = dirBytes(h.parts.Settings.ArchiveDir()); err != nil {
		return s, err
	}
	s.PerDevice(h.load.Devices)
	return s, nil
}

// traffic asks Redis and NATS what they have done.
func (h *benchHouse) traffic(ctx context.Context) (t bench.Traffic, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %s", answerTimeout))
	defer cancel()
	info, err := h.redis.Info(ctx)
	if err != nil {
		return t, err
	}
	t.ReadRedis(info)
	if err := h.nats.Send(ctx, natsAsk{}); err != nil {
		return t, err
	}
	var messages natsMessages
	if err := h.nats.Receive(ctx, &messages); err != nil {
		return t, err
	}
	t.ToNATS, t.FromNATS = messages.In, messages.Out
	return t, nil
}

// dirBytes adds up the files below a directory; those that go away meanwhile do not count.
func dirBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				sum += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return sum, err
}
