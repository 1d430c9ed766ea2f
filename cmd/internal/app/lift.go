package app

import (
	"context"
	"errors"

	"github.com/confhaul/confhaul/pkg/backup"
)

// Lift takes the block off a device where it is one of those that are meant, and says whether it did. A scheduler sees the
// change and makes a task.
func (p *Parts) Lift(ctx context.Context, key string, meant func(backup.Block) bool) (bool, error) {
	for {
		s, revision, err := p.Store.State(ctx, key)
		if err != nil || s.Block == nil || !meant(*s.Block) {
			return false, err
		}
		s.Block = nil
		if _, err = p.Store.PutState(ctx, key, s, revision); !errors.Is(err, backup.ErrConflict) {
			return err == nil, err
		}
	}
}
