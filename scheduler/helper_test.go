package scheduler

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/queue"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/state"
)

const (
	patience     = 30 * time.Second // of anything a test waits for; never reached but by a fault
	pollInterval = 10 * time.Millisecond
	wholeTimeout = time.Minute
)

// TestMain lets more tests run at once than there are cores: they wait for ticks and hardly compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// house is a registry on a real NATS and a queue on a real Redis, for one test.
type house struct {
	t     testing.TB
	ctx   context.Context
	store *state.Store
	url   secret.URL    // of Redis
	via   secret.URL    // of Redis for the schedulers
	redis *redis.Client // for what the queue does not show
}

func newHouse(t testing.TB) *house {
	t.Helper()
	return newHouseOn(t, embeddedtest.NATS(t, embedded.NATSOptions{}).URL())
}

func newHouseOn(t testing.TB, nats secret.URL) *house {
	t.Helper()
	url := embeddedtest.Redis(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	conn, err := natsio.Connect(ctx, natsio.Options{URL: nats, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	store, err := state.Open(ctx, conn, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := redis.ParseURL(url.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	rc := redis.NewClient(o)
	t.Cleanup(func() { _ = rc.Close() })
	return &house{t, ctx, store, url, url, rc}
}

// replica is a running Scheduler and what it asked of its queue.
type replica struct {
	*Scheduler
	h     *house
	queue *spyQueue
	log   *logLines
}

// newReplica makes a Scheduler on table that does not run yet.
func (h *house) newReplica(change ...func(*Options)) *replica {
	h.t.Helper()
	r := &replica{h: h, queue: h.newQueue(h.via), log: &logLines{}}
	o := Options{
		Registry: h.store, Queue: r.queue, Timetable: table, SiteLimit: device.Unlimited,
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, f := range change {
		f(&o)
	}
	r.Scheduler = New(o)
	return r
}

// schedule runs a replica until the test ends and returns when it has loaded the registry.
func (h *house) schedule(change ...func(*Options)) *replica {
	h.t.Helper()
	r := h.newReplica(change...)
	r.start()
	return r
}

func (r *replica) start() {
	h := r.h
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("the scheduler ended with %v", err)
		}
	})
	h.await("the registry to be loaded", func() bool { return r.log.count("registry loaded") == 1 })
}

func (h *house) newQueue(url secret.URL) *spyQueue {
	h.t.Helper()
	c, err := queue.NewClient(queue.Address{URL: url})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return &spyQueue{Client: c, answers: map[string][]backup.Standing{}}
}

// spyQueue is the real queue; it remembers what each ensure found.
type spyQueue struct {
	*queue.Client
	before func() // called before each ensure, where set

	mu      sync.Mutex
	answers map[string][]backup.Standing // by device id
}

func (q *spyQueue) Ensure(ctx context.Context, site string, t backup.Task, at time.Time) (backup.Standing, error) {
	return q.note(t, func() (backup.Standing, error) { return q.Client.Ensure(ctx, site, t, at) })
}

func (q *spyQueue) EnsureNow(ctx context.Context, site string, t backup.Task, head bool) (backup.Standing, error) {
	return q.note(t, func() (backup.Standing, error) { return q.Client.EnsureNow(ctx, site, t, head) })
}

func (q *spyQueue) note(t backup.Task, ensure func() (backup.Standing, error)) (backup.Standing, error) {
	if q.before != nil {
		q.before()
	}
	s, err := ensure()
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.answers[t.Device] = append(q.answers[t.Device], s)
	}
	return s, err
}

func (q *spyQueue) found(id string) []backup.Standing {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.answers[id])
}

// fence returns when whatever stood in the registry before has been acted on: a device that came later has its task, and so
// has one that came when that was done.
func (r *replica) fence() {
	r.h.t.Helper()
	for i := range 2 {
		id := "fence-" + strconv.Itoa(i) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
		r.h.put(newDevice(id, "fence", time.Minute))
		r.h.await("the fence", func() bool { return len(r.queue.found(id)) > 0 })
	}
}

// open says whether this replica knows that every site's limit has stood in Redis.
func (r *replica) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sites {
		if !s.Opened {
			return false
		}
	}
	return true
}

// newDevice has its first slot in the given time.
func newDevice(id, site string, in time.Duration) device.Device {
	d := device.Device{ID: id, Site: site, Enabled: true}
	d.FirstSeen = time.Now().Add(in - table.first(d).Sub(d.FirstSeen))
	return d
}

// goodState is that of a device whose slot is done.
func goodState() backup.State {
	return backup.State{V: backup.StateVersion, GoodStarted: time.Now(), Result: backup.ResultUnchanged}
}

// quietID is that of a device whose next slot, once one is done, is an hour away at least, whatever the time of day.
func quietID() string {
	for i := 0; ; i++ {
		id := fmt.Sprint("r", i)
		if now := time.Now(); table.slot(device.Device{ID: id}, goodState(), now).Sub(now) > time.Hour {
			return id
		}
	}
}

func (h *house) put(d device.Device) {
	h.t.Helper()
	if err := h.store.PutDevice(h.ctx, d); err != nil {
		h.t.Fatal(err)
	}
}

// putSite writes a site over whatever record stood there.
func (h *house) putSite(s device.Site) {
	h.t.Helper()
	_, revision, err := h.store.Site(h.ctx, s.Name)
	if err == nil {
		_, err = h.store.PutSite(h.ctx, s, revision)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// setState changes what is known of a device.
func (h *house) setState(d device.Device, change func(*backup.State)) {
	h.t.Helper()
	s, revision, err := h.store.State(h.ctx, d.Key())
	if err == nil {
		change(&s)
		_, err = h.store.PutState(h.ctx, d.Key(), s, revision)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// request asks for a backup as a command does.
func (h *house) request(d device.Device, force bool) {
	h.t.Helper()
	_, revision, err := h.store.State(h.ctx, d.Key())
	if err == nil {
		_, err = h.store.PutRequest(h.ctx, d.Key(), backup.Request{ID: d.ID, Since: revision, Force: force, At: time.Now()})
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// task says in which state of asynq the device's task is: "" where there is none.
func (h *house) task(d device.Device) string {
	h.t.Helper()
	s, err := h.redis.HGet(h.ctx, "asynq:{"+d.Site+"}:t:"+backup.TaskID(d.ID), "state").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		h.t.Fatal(err)
	}
	return s
}

// scheduledAt is when the device's scheduled task becomes pending, in unix seconds; 0 where it is not scheduled.
func (h *house) scheduledAt(d device.Device) int64 {
	h.t.Helper()
	at, err := h.redis.ZScore(h.ctx, "asynq:{"+d.Site+"}:scheduled", backup.TaskID(d.ID)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		h.t.Fatal(err)
	}
	return int64(at)
}

func (h *house) awaitTask(d device.Device, want string) {
	h.t.Helper()
	h.await("the task of "+d.ID+" to be '"+want+"'", func() bool { return h.task(d) == want })
}

// limit is what stands in Redis; there is false where nothing does.
func (h *house) limit(site string) (limit int, there bool) {
	h.t.Helper()
	n, err := h.redis.Get(h.ctx, "confhaul:{"+site+"}:limit").Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		h.t.Fatal(err)
	}
	return n, err == nil
}

func (h *house) flush() {
	h.t.Helper()
	if err := h.redis.FlushAll(h.ctx).Err(); err != nil {
		h.t.Fatal(err)
	}
}

// await asks until the answer is yes.
func (h *house) await(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			h.t.Fatalf("waited %s for %s", patience, what)
		case <-tick.C:
		}
	}
}

// next waits for a value.
func next[T any](h *house, ch <-chan T, what string) T {
	h.t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		h.t.Fatalf("waited %s for %s", patience, what)
		panic("unreachable")
	}
}

// run is one task in the hands of a worker.
type run struct {
	device string
	slot   int64
	reason backup.Reason
	at     time.Time
}

// work takes tasks as a worker does: running mark, then what outcome makes of the state, written back. It tells of each
// run when its mark is set.
func (h *house) work(outcome func(id string, s *backup.State) backup.Next, sites ...string) <-chan run {
	h.t.Helper()
	runs := make(chan run, 100)
	s, err := queue.NewServer(queue.ServerOptions{
		Address: queue.Address{URL: h.url}, Sessions: 10, Grace: 6 * time.Second, Log: slog.New(slog.DiscardHandler),
		Handler: func(_ context.Context, site string, t backup.Task) (backup.Next, error) {
			return h.backUp(runs, outcome, site, t)
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(s.Stop)
	for _, site := range sites {
		if err := s.Serve(site); err != nil {
			h.t.Fatal(err)
		}
	}
	return runs
}

func (h *house) backUp(runs chan<- run, outcome func(string, *backup.State) backup.Next, site string, t backup.Task) (backup.Next, error) {
	key, started := device.Key(site, t.Device), time.Now()
	s, revision, err := h.store.State(h.ctx, key)
	if err != nil {
		return backup.Next{Action: backup.Again, Delay: backup.InfrastructureDelay}, err
	}
	s.V = backup.StateVersion
	s.Running = &backup.Running{Started: started, Until: started.Add(wholeTimeout), Dialled: true}
	if revision, err = h.store.PutState(h.ctx, key, s, revision); err != nil {
		return backup.Next{Action: backup.Again, Delay: backup.InfrastructureDelay}, err
	}
	runs <- run{t.Device, t.Slot, t.Reason, started}
	s.LastDial, s.AttemptRevision = started, revision
	next := outcome(t.Device, &s)
	s.Running, s.AttemptEnded = nil, time.Now()
	if _, err := h.store.PutState(h.ctx, key, s, revision); err != nil {
		return backup.Next{Action: backup.Again, Delay: backup.InfrastructureDelay}, err
	}
	return next, nil
}

// succeed is the outcome of a proven export.
func succeed(_ string, s *backup.State) backup.Next {
	s.GoodStarted, s.Result, s.Failures, s.NextAt, s.Block = s.Running.Started, backup.ResultUnchanged, 0, time.Time{}, nil
	return backup.Next{Action: backup.Done}
}

// logLines takes what a replica logs.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) count(text string) int { return strings.Count(l.String(), text) }

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lostFor has Redis know for so long that it has lost a site's limits.
func (h *house) lostFor(site string, ago time.Duration) {
	h.t.Helper()
	now, err := h.redis.Time(h.ctx).Result()
	if err == nil {
		err = h.redis.Set(h.ctx, "confhaul:{"+site+"}:lost", fmt.Sprintf("%d %d", ago.Milliseconds(), now.UnixMilli()), 0).Err()
	}
	if err != nil {
		h.t.Fatal(err)
	}
}
