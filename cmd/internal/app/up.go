package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/settings"
)

// Up runs everything in one process on the data directory of the settings: Redis and NATS, a scheduler, a worker for all
// sites, an archiver and the dashboard, and what extra adds. after runs when the roles have ended and Redis and NATS still answer.
func Up(ctx context.Context, s settings.Settings, log *slog.Logger, extra []Role, after func(context.Context, *Process) error) (err error) {
	unlock, err := embedded.Lock(s.Data)
	if err != nil {
		return err
	}
	defer unlock()
	token := embedded.NewToken()
	redis, err := embedded.StartRedis(ctx, embedded.RedisOptions{Dir: filepath.Join(s.Data, "redis"), Token: token, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, redis.Stop()) }()
	nats, err := embedded.StartNATS(ctx, embedded.NATSOptions{Dir: filepath.Join(s.Data, "nats"), Token: token, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nats.Stop()) }()
	s.Redis, s.NATS, s.Archive.Dir = redis.URL(), nats.URL(), s.ArchiveDir()
	defer func() { err = errors.Join(err, embedded.RemoveRun(s.Data)) }()
	log.Info("queue started", "kind", redis.Kind(), "data", s.Data)

	roles := append([]Role{
		announce,
		func(ctx context.Context, _ *Process) error {
			select {
			case <-ctx.Done():
				return nil
			case <-redis.Done():
				return errors.New("the redis-server that this process started has ended")
			}
		},
		func(ctx context.Context, p *Process) error {
			if err := p.endMarks(ctx); err != nil {
				return err
			}
			return Schedule(true)(ctx, p)
		},
		Work(nil), Archive, Dashboard(false),
	}, extra...)
	return Run(ctx, s, log, roles, after)
}

// endMarks ends the running marks that a killed process left: this one holds the data directory alone, so nobody has a
// session. The next attempt still counts the session as lost.
func (p *Process) endMarks(ctx context.Context) error {
	states, err := p.Store.States(ctx)
	if err != nil {
		return err
	}
	for key, s := range states {
		if !s.Running.Live(time.Now()) {
			continue
		}
		s, revision, err := p.Store.State(ctx, key)
		if err != nil {
			return err
		}
		if s.Running == nil {
			continue
		}
		s.Running.Until = time.Now()
		if _, err := p.Store.PutState(ctx, key, s, revision); err != nil && !errors.Is(err, backup.ErrConflict) {
			return err
		}
	}
	return nil
}

// announce lets commands in other terminals find this process.
func announce(_ context.Context, p *Process) error {
	return embedded.WriteRun(p.Settings.Data, embedded.Run{
		PID: os.Getpid(), Redis: p.Settings.Redis, NATS: p.Settings.NATS, Started: time.Now(),
		Dashboard: p.HTTP.URL(), Listen: p.HTTP.Addr(),
	})
}
