package queue

import (
	"errors"
	"net/http"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// monitorConn lets asynqmon use a client of ours.
type monitorConn struct{ client redis.UniversalClient }

func (m monitorConn) MakeRedisClient() any { return m.client }

// Monitor is asynqmon for the Redis at an address, to be served below root (as in /queues), without any action that changes a
// queue unless actions are allowed. Close it when the server has stopped.
func Monitor(a Address, root string, actions bool) (handler http.Handler, closeMonitor func() error, err error) {
	client, err := open(a, 0)
	if err != nil {
		return nil, nil, err
	}
	var conn asynq.RedisConnOpt = monitorConn{client}
	h := asynqmon.New(asynqmon.Options{RootPath: root, RedisConnOpt: conn, ReadOnly: !actions})
	return h, func() error {
		if err := h.Close(); err != nil && !errors.Is(err, redis.ErrClosed) { // its parts close the one client in turn
			return err
		}
		return nil
	}, nil
}
