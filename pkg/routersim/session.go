package routersim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The results of a session's login.
const (
	LoginOK      = "ok"
	LoginRefused = "refused"
	LoginNone    = "none" // none was attempted
)

// sessionsMax bounds the log: beyond it the oldest closed sessions are forgotten.
const sessionsMax = 20_000

// Session is one TCP connection to a router, from accept to close.
type Session struct {
	Device  string
	From    time.Time
	To      time.Time // zero while it is open
	Login   string    // LoginOK, LoginRefused or LoginNone
	Bytes   int64     // of export text sent, also as a file
	Command string    // the last exec line
	Open    bool

	Banned    bool // the firewall closed it
	Forwarded int  // direct-tcpip channels that were opened
}

// sessionLog keeps the sessions in the order in which they began.
type sessionLog struct {
	mu      sync.Mutex
	list    []*Session
	changed chan struct{} // closed at the next change
}

func newSessionLog() *sessionLog { return &sessionLog{changed: make(chan struct{})} }

func (l *sessionLog) open(device string) *Session {
	s := &Session{Device: device, From: time.Now(), Login: LoginNone, Open: true}
	l.update(func() {
		if len(l.list) >= sessionsMax {
			forget := sessionsMax / 10
			l.list = slices.DeleteFunc(l.list, func(s *Session) bool {
				forget--
				return forget >= 0 && !s.Open
			})
		}
		l.list = append(l.list, s)
	})
	return s
}

func (l *sessionLog) close(s *Session) {
	l.update(func() { s.To, s.Open = time.Now(), false })
}

// update changes sessions and wakes everyone who waits for a change.
func (l *sessionLog) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *sessionLog) snapshot() ([]Session, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Session, len(l.list))
	for i, s := range l.list {
		out[i] = *s
	}
	return out, l.changed
}

// wait returns when the sessions satisfy enough, or with ctx's error.
func (l *sessionLog) wait(ctx context.Context, enough func([]Session) bool) error {
	for {
		now, changed := l.snapshot()
		if enough(now) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for sessions: %w", context.Cause(ctx))
		}
	}
}
