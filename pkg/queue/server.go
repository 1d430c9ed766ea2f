package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	// How often an idle server asks for a task, and how often due tasks become pending.
	taskCheckInterval    = 200 * time.Millisecond
	delayedCheckInterval = time.Second
	// How often a worker looks whether its tasks are still its own.
	ownershipInterval = 5 * time.Second
	// What is left of the grace for asynq once our own sessions are closed.
	shutdownMargin = 5 * time.Second
	// How long the start-up self-test waits for a guarded dequeue.
	proofTimeout = 10 * time.Second
)

// The causes with which a running handler's context ends before its deadline.
var (
	ErrLost     = fault.New(fault.Infrastructure, "hold task", "the queue no longer counts the task as ours")
	ErrDraining = fault.New(fault.Infrastructure, "hold task", "this worker is stopping")
)

// Handler runs one task of a site. The error is what the dashboard shows; Next alone says what happens.
type Handler func(ctx context.Context, site string, t backup.Task) (backup.Next, error)

// Server takes tasks from the queues of its sites and runs the handler on them, at most sessions at once in this process.
type Server struct {
	redis   *redis.Client
	gate    *gate
	handler Handler
	grace   time.Duration
	log     *slog.Logger

	mu       sync.Mutex
	servers  map[string]*asynq.Server
	running  map[string]*runningTask // by task id
	draining bool
	down     bool // Redis does not answer or takes no writes; told once

	stopOwnership context.CancelFunc
	ownership     sync.WaitGroup
}

type runningTask struct {
	site   string
	ticket string
	cancel context.CancelCauseFunc
}

// ServerOptions are what a Server needs.
type ServerOptions struct {
	Address  Address
	Sessions int           // at once in this process
	Grace    time.Duration // from Stop to the last session's end
	Handler  Handler
	Hold     func() bool // while true nothing is taken; nil: never
	Log      *slog.Logger
}

// NewServer prepares a server without queues; Serve adds them.
func NewServer(o ServerOptions) (*Server, error) {
	rc, err := open(o.Address, o.Sessions)
	if err != nil {
		return nil, err
	}
	s := &Server{
		redis: rc, handler: o.Handler, grace: o.Grace, log: o.Log,
		servers: map[string]*asynq.Server{}, running: map[string]*runningTask{},
	}
	s.gate = newGate(o.Sessions, o.Hold, s.tellRedis, s.waiting)
	rc.AddHook(s.gate)
	ctx, cancel := context.WithCancel(context.Background())
	s.stopOwnership = cancel
	s.ownership.Go(func() { s.watchOwnership(ctx) })
	return s, nil
}

// Serve starts taking tasks of a site; for a site already served it does nothing. One asynq server per site, on one
// connection pool, is what lets sites come and go: asynq fixes the queues of a server when it starts.
func (s *Server) Serve(site string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.servers[site] != nil {
		return nil
	}
	srv := asynq.NewServerFromRedisClient(s.redis, asynq.Config{
		Concurrency:              cap(s.gate.slots),
		Queues:                   map[string]int{site: 1},
		TaskCheckInterval:        taskCheckInterval,
		DelayedTaskCheckInterval: delayedCheckInterval,
		ShutdownTimeout:          shutdownMargin,
		RetryDelayFunc:           retryDelay,
		IsFailure:                isFailure,
		Logger:                   asynqLog{s.log.With("site", site)},
		LogLevel:                 asynq.WarnLevel,
	})
	if err := srv.Start(asynq.HandlerFunc(s.process(site))); err != nil {
		return fmt.Errorf("serve site %s: %w", site, err)
	}
	s.servers[site] = srv
	return nil
}

// Verify returns once a dequeue has passed the guard, and an error where none does: without it no limit would hold.
func (s *Server) Verify(ctx context.Context) error {
	deadline := time.NewTimer(proofTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(taskCheckInterval)
	defer tick.Stop()
	for !s.gate.proven() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			if !s.asking(ctx) {
				deadline.Reset(proofTimeout)
				continue
			}
			return fault.New(fault.Internal, "check limits", "no dequeue of asynq passed the guard within %s: this build must not run", proofTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// asking says whether this process can have asked for tasks: it serves a site, and Redis answers.
func (s *Server) asking(ctx context.Context) bool {
	s.mu.Lock()
	serving := len(s.servers) > 0
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return serving && !s.gate.hold() && s.redis.Ping(ctx).Err() == nil
}

// process runs one task under a context of our own, so that the reason of its end can be told.
func (s *Server) process(site string) func(context.Context, *asynq.Task) error {
	return func(ctx context.Context, t *asynq.Task) error {
		growStack()
		defer s.gate.release(site)
		id, _ := asynq.GetTaskID(ctx)
		online := s.gate.taken(id)
		task, err := backup.DecodeTask(t.Payload())
		task.Online = online
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		s.mu.Lock()
		mine := &runningTask{site, task.Ticket, cancel}
		s.running[id] = mine
		if s.draining {
			cancel(ErrDraining)
		}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			if s.running[id] == mine { // else asynq has given this run up, and a newer one stands there
				delete(s.running, id)
			}
			s.mu.Unlock()
		}()
		switch {
		case errors.Is(err, backup.ErrNewerTask):
			return verdict(backup.Next{Action: backup.Again, Delay: backup.NewerDelay}, err)
		case err != nil:
			return verdict(backup.Next{Action: backup.Stop}, err)
		}
		return verdict(s.handler(ctx, site, task))
	}
}

// growStack makes room on the goroutine's stack for what a backup takes of it, in one step and while there is hardly anything
// on it to move. Asynq runs every task on a new goroutine, and a stack that doubles three times under a full load of frames
// costs a tenth of the queue's whole CPU.
//
//go:noinline
func growStack() {
	var room [12 << 10]byte
	runtime.KeepAlive(&room)
}

// again carries a decision through asynq, which hands its error to retryDelay and isFailure.
type again struct {
	next  backup.Next
	cause error
}

func (a *again) Error() string { return a.cause.Error() }
func (a *again) Unwrap() error { return a.cause }

// verdict turns a decision into asynq's words.
func verdict(n backup.Next, cause error) error {
	if cause == nil {
		cause = errors.New("put back")
	}
	switch n.Action {
	case backup.Again:
		return &again{n, cause}
	case backup.Stop:
		return fmt.Errorf("%w: %w", cause, asynq.SkipRetry)
	}
	return nil
}

// retryDelay follows the decision; what did not come from a handler (a lost lease, a panic) waits the fixed delay.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if a, ok := errors.AsType[*again](err); ok {
		return a.next.Delay
	}
	return backup.LostLeaseDelay
}

func isFailure(err error) bool {
	a, ok := errors.AsType[*again](err)
	return !ok || a.next.Counted
}

// tellRedis says once that Redis is away, or takes no writes, and once that it is back, which a write has shown.
func (s *Server) tellRedis(err error) {
	s.mu.Lock()
	was := s.down
	s.down = err != nil
	s.mu.Unlock()
	switch {
	case err != nil && !was:
		s.log.Warn("queue not reachable: waiting for it", "err", explain(err))
	case err == nil && was:
		s.log.Info("queue reachable again")
	}
}

// endOutage looks whether an outage that was told is over: an idle worker's dequeues do not show it.
func (s *Server) endOutage(ctx context.Context) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if !down {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if tryWrite(ctx, s.redis) == nil { // why it fails is told already
		s.tellRedis(nil)
	}
}

// watchOwnership ends the sessions of tasks that Redis no longer counts as ours: another worker may get them. And it
// brings back the tasks of workers that died.
func (s *Server) watchOwnership(ctx context.Context) {
	tick := time.NewTicker(ownershipInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.dropLost(ctx)
			if !s.gate.hold() { // as where Redis' clock jumped: it would take every live task away
				s.recover(ctx)
			}
			s.endOutage(ctx)
		}
	}
}

func (s *Server) dropLost(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	s.mu.Lock()
	pipe := s.redis.Pipeline()
	asked := make(map[string]*runningTask, len(s.running))
	got := make(map[string]*redis.SliceCmd, len(s.running))
	for id, r := range s.running {
		asked[id], got[id] = r, pipe.HMGet(ctx, keys{r.site}.task(id), "state", "msg", "run")
	}
	s.mu.Unlock()
	if len(got) == 0 {
		return
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return // Redis is away: asynq's lease ends the handlers in time
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, g := range got {
		r := asked[id]
		state, _ := g.Val()[0].(string)
		message, _ := g.Val()[1].(string)
		run, _ := g.Val()[2].(string)
		gone := state != "active" || !strings.Contains(message, r.ticket) || run != "" && run != s.gate.process
		if s.running[id] == r && gone {
			s.log.Warn("task lost: closing its session", "task", id, "site", r.site, "state", state)
			r.cancel(ErrLost)
		}
	}
}

// recover brings back what dead workers left in work at the served sites.
func (s *Server) recover(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	pipe := s.redis.Pipeline()
	got := map[string]*redis.Cmd{}
	s.mu.Lock()
	for site := range s.servers {
		k := keys{site}
		got[site] = pipe.Eval(ctx, recoverLost, []string{k.of("lease"), k.of("active"), k.of("retry")},
			int(leaseSlack.Seconds()), k.of("t:"), int(backup.LostLeaseDelay.Seconds()))
	}
	s.mu.Unlock()
	if len(got) == 0 {
		return
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return // Redis is away, which the dequeues tell
	}
	for site, g := range got {
		if n, err := g.Int(); err == nil && n > 0 {
			s.log.Warn("tasks of a lost worker put back", "site", site, "tasks", n)
		}
	}
}

// Stop takes no more tasks, lets sessions finish within the grace, closes the rest shortly before its end so that asynq
// never gives a task away whose session is open, and waits for everything.
func (s *Server) Stop() {
	s.mu.Lock()
	servers := make([]*asynq.Server, 0, len(s.servers))
	for _, srv := range s.servers {
		servers = append(servers, srv)
	}
	s.mu.Unlock()
	each(servers, (*asynq.Server).Stop)
	s.awaitIdle(max(s.grace-shutdownMargin, 0))
	s.mu.Lock()
	s.draining = true
	for _, r := range s.running {
		r.cancel(ErrDraining)
	}
	s.mu.Unlock()
	each(servers, (*asynq.Server).Shutdown)
	s.stopOwnership()
	s.ownership.Wait()
	_ = s.redis.Close()
}

// awaitIdle returns when no handler runs, or after patience.
func (s *Server) awaitIdle(patience time.Duration) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		idle := len(s.running) == 0
		s.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

func each(servers []*asynq.Server, do func(*asynq.Server)) {
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(func() { do(srv) })
	}
	wg.Wait()
}

// asynqLog hands asynq's lines to slog, but for those that say again what is told elsewhere: every part of asynq complains
// of an absent Redis every second, and of each blocked device.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) tell(level slog.Level, args []any) {
	line := fmt.Sprint(args...)
	for _, told := range []string{"redis eval error", "redis command error", "pubsub", "Retry exhausted"} {
		if strings.Contains(line, told) {
			level = slog.LevelDebug
		}
	}
	l.log.Log(context.Background(), level, line)
}

func (l asynqLog) Debug(args ...any) { l.tell(slog.LevelDebug, args) }
func (l asynqLog) Info(args ...any)  { l.tell(slog.LevelInfo, args) }
func (l asynqLog) Warn(args ...any)  { l.tell(slog.LevelWarn, args) }
func (l asynqLog) Error(args ...any) { l.tell(slog.LevelError, args) }
func (l asynqLog) Fatal(args ...any) { l.tell(slog.LevelError, args) }
