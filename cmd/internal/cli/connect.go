package cli

import (
	"context"
	"time"

	"github.com/confhaul/confhaul/cmd/internal/app"
)

// connectTimeout bounds how long a command looks for Redis and NATS.
const connectTimeout = 10 * time.Second

// connect reaches the Redis and NATS that the command is about.
func (e *env) connect(ctx context.Context) (*app.Parts, error) {
	s, err := e.target()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return app.Connect(ctx, s, func(err error) { e.refused.Store(&err) })
}

// connectRegistry is connect for commands that are about devices: the inventory is in the registry when it returns.
func (e *env) connectRegistry(ctx context.Context) (*app.Parts, error) {
	p, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.EnsureRegistry(ctx); err != nil {
		p.Close()
		return nil, inputError(err)
	}
	return p, nil
}
