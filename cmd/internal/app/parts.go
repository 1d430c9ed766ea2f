// Package app builds the parts of each process, starts them in order and stops them in reverse.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/confhaul/confhaul/pkg/collect"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/queue"
	"github.com/confhaul/confhaul/pkg/settings"
	"github.com/confhaul/confhaul/pkg/sshclient"
	"github.com/confhaul/confhaul/pkg/state"
	"github.com/confhaul/confhaul/pkg/stream"
	"github.com/confhaul/confhaul/pkg/transport"
)

// Parts are the tools of one process, connected.
type Parts struct {
	Settings settings.Settings
	Conn     *natsio.Conn
	Store    *state.Store
	Stream   *stream.Stream
	Queue    *queue.Client
}

// Connect reaches Redis and NATS or says which of them does not answer; for commands. refused hears, from another goroutine, what
// NATS does not let them do: it sends no answer to that.
func Connect(ctx context.Context, s settings.Settings, refused func(error)) (*Parts, error) {
	q, err := queue.NewClient(redisAt(s))
	if err != nil {
		return nil, err
	}
	p := &Parts{Settings: s, Queue: q}
	if err := q.Ping(ctx); err != nil {
		p.Close()
		return nil, err
	}
	at := natsAt(s)
	at.OnChange = func(up bool, err error) {
		if up && err != nil {
			refused(err)
		}
	}
	if p.Conn, err = natsio.Connect(ctx, at); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.open(ctx, slog.New(slog.DiscardHandler), false); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func redisAt(s settings.Settings) queue.Address {
	return queue.Address{URL: s.Redis, PasswordFile: s.RedisPasswordFile, TLS: s.RedisTLS}
}

func natsAt(s settings.Settings) natsio.Options {
	return natsio.Options{
		URL: s.NATS, Name: processName(), PasswordFile: s.NATSPasswordFile, CredsFile: s.NATSCredsFile, NkeyFile: s.NATSNkeyFile, TLS: s.NATSTLS,
		APIPrefix: s.NATSAPIPrefix,
	}
}

// waitInterval is how often a process that waits for Redis or NATS looks again.
const waitInterval = time.Second

// await reaches Redis and NATS, however long that takes, and says once what it waits for; for processes. existing says that
// it waits for streams and buckets, too, and makes none.
func await(ctx context.Context, s settings.Settings, log *slog.Logger, existing bool) (*Parts, error) {
	q, err := queue.NewClient(redisAt(s))
	if err != nil {
		return nil, err
	}
	p := &Parts{Settings: s, Queue: q}
	if err := until(ctx, log, "redis", q.Ping); err != nil {
		p.Close()
		return nil, err
	}
	at := natsAt(s)
	at.Wait = true
	at.OnChange = func(up bool, err error) {
		switch {
		case up && err != nil:
			log.Error("nats refuses something", "err", err)
		case up:
			log.Info("nats reachable")
		case ctx.Err() == nil:
			log.Warn("nats not reachable: waiting for it", "address", s.NATS, "err", err)
		}
	}
	p.Conn, err = natsio.Connect(ctx, at)
	if err == nil {
		err = until(ctx, log, "jetstream", func(ctx context.Context) error { return p.open(ctx, log, existing) })
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// until repeats do until it works, and tells once of a failure, once of a refusal, and once of its end.
func until(ctx context.Context, log *slog.Logger, what string, do func(context.Context) error) error {
	told, toldRefusal := false, false
	for {
		err := do(ctx)
		if err == nil {
			if told {
				log.Info(what + " reachable")
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if refused := transport.Refused(err); !told || refused && !toldRefusal {
			log.Warn(what+" not reachable: waiting for it", "err", err)
			told, toldRefusal = true, toldRefusal || refused
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(waitInterval):
		}
	}
}

func (p *Parts) open(ctx context.Context, log *slog.Logger, existing bool) error {
	s := p.Settings.Stream
	var err error
	if p.Store, err = state.Open(ctx, p.Conn, state.Options{
		Replicas: s.Replicas, Existing: existing,
		Report: func(err error) { log.Warn("registry", "err", err) },
	}); err != nil {
		return err
	}
	perSubject := s.PerSubject
	if p.Settings.Archive.Dir != "" { // an archiver runs with these settings, or will
		perSubject = 0
	}
	p.Stream, err = stream.Open(ctx, p.Conn, stream.Options{
		Report:        func(err error) { log.Warn("stream", "err", err) },
		SnapshotBytes: s.SnapshotBytes, EventBytes: s.EventBytes, Replicas: s.Replicas, Existing: existing, PerSubject: perSubject,
	})
	return err
}

// Close gives the connections up.
func (p *Parts) Close() {
	if p.Conn != nil {
		p.Conn.Close()
	}
	_ = p.Queue.Close()
}

// NewCollector makes a collector with the settings' deadlines.
func NewCollector(s settings.Settings) *collect.Collector {
	t := s.Timeouts
	return collect.New(collect.Options{
		Timeouts: sshclient.Timeouts{Dial: t.Dial, Handshake: t.Handshake, Login: t.Login, FirstByte: t.FirstByte, Idle: t.Idle},
		Whole:    t.Whole,
	})
}

// processName tells this process from all others of the fleet.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}
