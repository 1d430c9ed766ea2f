package dashboard

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/secret"
)

const (
	// SessionTTL is how long somebody stays logged in.
	SessionTTL = 12 * time.Hour
	// sessionsMax is the sessions of one token; beyond it the oldest ends. With tokensMax it bounds those of all.
	sessionsMax = 20
)

// session is somebody who logged in with a token.
type session struct {
	token   digest
	expires time.Time
}

// sessions are those of this process: they end with it. It is safe for concurrent use.
type sessions struct {
	mu   sync.Mutex
	byID map[digest]session // by the digest of the id, so that a lookup tells nothing of an id that is nearly right
}

// begin makes a session and returns its id.
func (s *sessions) begin(token digest, now time.Time) secret.Text {
	s.mu.Lock()
	defer s.mu.Unlock()
	var oldest digest
	count := 0
	for id, other := range s.byID {
		switch {
		case !now.Before(other.expires):
			delete(s.byID, id)
		case other.token == token:
			if count == 0 || other.expires.Before(s.byID[oldest].expires) {
				oldest = id
			}
			count++
		}
	}
	if count >= sessionsMax {
		delete(s.byID, oldest)
	}
	id := secret.New(rand.Text())
	s.byID[sumOf(id)] = session{token: token, expires: now.Add(SessionTTL)}
	return id
}

// find is the token of a session that has not expired.
func (s *sessions) find(id secret.Text, now time.Time) (token digest, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.byID[sumOf(id)]
	return found.token, ok && now.Before(found.expires)
}

func (s *sessions) end(id secret.Text) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sumOf(id))
}

// sweep ends the sessions whose token is good no longer, and says how many those were.
func (s *sessions) sweep(now time.Time, good func(token digest) bool) (ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, one := range s.byID {
		alive := now.Before(one.expires)
		if alive && good(one.token) {
			continue
		}
		delete(s.byID, id)
		if alive {
			ended++
		}
	}
	return ended
}
