package queue

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// waitingInterval is how old a worker's view of its queues may be.
const waitingInterval = taskCheckInterval

// askInterval is how often each queue is asked for a task although it seems empty.
const askInterval = 5 * time.Second

// share keeps one queue from holding more than half of a process's sessions while another has pending tasks, so that a site
// of dark routers does not delay the others. A queue that has more when another's task comes keeps what it has; so that the
// task need not wait for a session to time out, an eighth of the sessions is kept free of each queue where others are served.
type share struct {
	half, most int                    // that one queue may hold while others wait, and while none does
	waiting    func() map[string]bool // the served queues that hand out tasks: whether they have any

	mu    sync.Mutex
	held  map[string]int       // sessions by queue
	asked map[string]time.Time // when the queue was asked although it was empty

	look   sync.Mutex // apart from mu: a session's end does not wait for Redis
	seen   map[string]bool
	seenAt time.Time
}

func newShare(sessions int, waiting func() map[string]bool) *share {
	return &share{half: max(sessions/2, 1), most: sessions - sessions/8, waiting: waiting, held: map[string]int{}, asked: map[string]time.Time{}}
}

// take counts a session for a queue unless it has its share. Each queue asks one at a time: asynq's server does.
func (s *share) take(site string) bool {
	s.mu.Lock()
	held := s.held[site]
	s.mu.Unlock()
	if held >= s.half {
		if served, wait := s.others(site); wait || served && held >= s.most {
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[site]++
	return true
}

func (s *share) release(site string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[site]--
}

// others says whether other queues hand out tasks, and whether they have any.
func (s *share) others(site string) (served, wait bool) {
	for other, waits := range s.around() {
		if other != site {
			served, wait = true, wait || waits
		}
	}
	return served, wait
}

// empty says that the queue had no task a moment ago; of a process' only queue it does not know. Each queue of a process asks
// for tasks by itself five times a second, and of many most have none: one look at all of them costs less than their scripts.
// Now and then it says nothing, so that a Redis that takes no writes is noticed.
func (s *share) empty(site string) bool {
	if waits, known := s.around()[site]; !known || waits {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.asked[site]) >= askInterval {
		s.asked[site] = now
		return false
	}
	return true
}

// around is what is waiting, a few times a second. The map is not changed any more.
func (s *share) around() map[string]bool {
	s.look.Lock()
	defer s.look.Unlock()
	if now := time.Now(); now.Sub(s.seenAt) >= waitingInterval {
		s.seen, s.seenAt = s.waiting(), now
	}
	return s.seen
}

// waiting lists the served queues that hand out tasks, and whether they have any: neither one that is paused nor one that
// Redis has no limit of is among them. It lists none where Redis does not answer: then nothing is handed out at all.
func (s *Server) waiting() map[string]bool {
	ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
	defer cancel()
	pipe := s.redis.Pipeline()
	pending, limits := map[string]*redis.IntCmd{}, map[string]*redis.StringCmd{}
	s.mu.Lock()
	for site := range s.servers {
		pending[site], limits[site] = pipe.LLen(ctx, keys{site}.of("pending")), pipe.Get(ctx, keys{site}.limit())
	}
	s.mu.Unlock()
	out := map[string]bool{}
	if len(pending) < 2 {
		return out
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return out
	}
	for site, n := range pending {
		if l, ok := decodeLimits(limits[site].Val()); ok && l.Sessions != 0 {
			out[site] = n.Val() > 0
		}
	}
	return out
}
