package queue

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/secret"
)

// failoverTimeout bounds a failover on a loaded machine: Sentinel rests for 30 s when it was kept from running.
const failoverTimeout = 90 * time.Second

// logged takes what a server logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// outages fails where not so many are told, and as many ends.
func (l *logged) outages(t *testing.T, begun, ended int) {
	t.Helper()
	if away, back := l.count("queue not reachable"), l.count("queue reachable again"); away != begun || back != ended {
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Errorf("told %d times that Redis is away and %d times that it is back, want %d and %d:\n%s", away, back, begun, ended, l.b.String())
	}
}

func startLoggedServer(t *testing.T, url secret.URL, h Handler, sites ...string) (*Server, *logged) {
	t.Helper()
	log := &logged{}
	s, err := NewServer(ServerOptions{Address: Address{URL: url}, Sessions: 4, Grace: 6 * time.Second, Handler: h, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for _, site := range sites {
		if err := s.Serve(site); err != nil {
			t.Fatal(err)
		}
	}
	return s, log
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(failoverTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %s for %s", failoverTimeout, what)
		case <-tick.C:
		}
	}
}

// TestFailover loses the master and has an empty replica promoted under a worker, a client and the dashboard: the running
// session is told, the pending task is gone, and nothing is handed out until the limit is written again.
func TestFailover(t *testing.T) {
	t.Parallel()
	r := embeddedtest.StartSentinel(t)
	c, err := NewClient(Address{URL: r.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 2*failoverTimeout)
	t.Cleanup(cancel)
	monitor, closeMonitor, err := Monitor(Address{URL: r.URL}, "/queues", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeMonitor(); err != nil {
			t.Error(err)
		}
	})
	shows := func(list, task string) bool {
		w := httptest.NewRecorder()
		monitor.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/queues/api/queues/riga/"+list, nil))
		return w.Code == http.StatusOK && strings.Contains(w.Body.String(), task)
	}
	started, lost := make(chan string, 10), make(chan error, 10)
	s, log := startLoggedServer(t, r.URL, func(ctx context.Context, _ string, task backup.Task) (backup.Next, error) {
		started <- task.Device
		if task.Device == "running" {
			<-ctx.Done()
			lost <- context.Cause(ctx)
		}
		return backup.Next{}, nil
	}, "riga")
	if err := s.Verify(ctx); err != nil {
		t.Fatal(err)
	}
	setLimit(t, c, "riga", 1)
	for _, id := range []string{"running", "pending"} {
		if _, err := c.EnsureNow(ctx, "riga", task(id), false); err != nil {
			t.Fatal(err)
		}
	}
	if got := await(t, started, "the first task"); got != "running" || !shows("pending_tasks", "backup:pending") {
		t.Fatalf("%s runs, the dashboard shows the other: %v", got, shows("pending_tasks", "backup:pending"))
	}
	r.LoseReplica(t)
	r.KillMaster(t)
	eventually(t, "the client's way to the new master", func() bool {
		_, err := c.EnsureNow(ctx, "riga", task("new"), false)
		return err == nil
	})
	eventually(t, "the session's end", func() bool { return len(lost) > 0 })
	if err := <-lost; !errors.Is(err, ErrLost) {
		t.Errorf("the session ended by %v", err)
	}
	eventually(t, "the outage's end to be told", func() bool { return log.count("queue reachable again") > 0 })
	asked := dequeues(ctx, t, c)
	eventually(t, "ten more dequeues at the new master", func() bool { return dequeues(ctx, t, c) >= asked+10 })
	if counts, err := c.Counts(ctx, []string{"riga"}); err != nil || len(started) != 0 || counts["riga"]["pending"] != 1 {
		t.Errorf("%d tasks are handed out without a limit; tasks stand as %v (%v)", len(started), counts, err)
	}
	setLimit(t, c, "riga", 1)
	if got := await(t, started, "the new task"); got != "new" {
		t.Errorf("%s runs after the failover", got)
	}
	eventually(t, "the dashboard to show the end", func() bool { return shows("completed_tasks", "backup:new") })
	if servers, err := c.ServedSites(); err != nil || !servers["riga"] {
		t.Errorf("served sites: %v %v", servers, err)
	}
	log.outages(t, 1, 1)
}

// dequeues is how many scripts the master of c has run.
func dequeues(ctx context.Context, t *testing.T, c *Client) int {
	t.Helper()
	info, err := c.redis.InfoMap(ctx, "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, part := range strings.Split(info["Commandstats"]["cmdstat_evalsha"], ",") {
		if calls, ok := strings.CutPrefix(part, "calls="); ok {
			for _, digit := range calls {
				n = n*10 + int(digit-'0')
			}
		}
	}
	return n
}

// refusals are ways in which a Redis answers and takes no writes.
var refusals = map[string]struct{ begin, end []any }{
	"full":     {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
	"readonly": {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}},
}

// TestRefusedWrites serves three sites from a Redis that takes no writes: one has a task, the guard keeps that of another
// back without a write, and the third has nothing. It is one outage, and ends with the first write.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	embeddedtest.RequireServer(t)
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := embeddedtest.Start(t, embedded.RedisServer).URL()
			c, err := NewClient(Address{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			ctx, cancel := context.WithTimeout(t.Context(), failoverTimeout)
			t.Cleanup(cancel)
			started := make(chan string, 10)
			_, log := startLoggedServer(t, url, func(_ context.Context, _ string, task backup.Task) (backup.Next, error) {
				started <- task.Device
				return backup.Next{}, nil
			}, "open", "closed", "idle")
			setLimit(t, c, "open", device.Unlimited)
			setLimit(t, c, "idle", device.Unlimited)
			for _, site := range []string{"open", "closed"} {
				if _, err := c.EnsureNow(ctx, site, task(site), false); err != nil {
					t.Fatal(err)
				}
			}
			await(t, started, "the task of the open site")
			for outage := 1; outage <= 2; outage++ {
				if err := c.Writable(ctx); err != nil {
					t.Errorf("a healthy Redis: %v", err)
				}
				if err := c.redis.Do(ctx, refusal.begin...).Err(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the outage to be told", func() bool { return log.count("queue not reachable") == outage })
				asked, since := dequeues(ctx, t, c), time.Now()
				eventually(t, "more dequeues", func() bool { return dequeues(ctx, t, c) >= asked+40 })
				if took := time.Since(since); took < time.Second {
					t.Errorf("40 scripts ran in %s: a Redis that refuses writes is asked without a rest", took)
				}
				log.outages(t, outage, outage-1)
				if err := c.Writable(ctx); err == nil || c.Ping(ctx) != nil || !strings.Contains(err.Error(), "write to redis: redis at redis://127.0.0.1:") {
					t.Errorf("a Redis that takes no writes: %v", err)
				}
				if err := c.redis.Do(ctx, refusal.end...).Err(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the end of the outage to be told", func() bool { return log.count("queue reachable again") == outage })
			}
			log.outages(t, 2, 2)
		})
	}
}

// TestBadAddresses names the setting and gives nothing away.
func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"redis-sentinel://u:hunter2@a:26379", "redis-sentinel://u:hunter2@a/main", "redis://u:hunter2@h:x"} {
		_, err := NewClient(Address{URL: secret.NewURL(text)})
		if err == nil || !strings.HasPrefix(err.Error(), "redis") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
