package app

import (
	"context"
	"errors"

	"github.com/confhaul/confhaul/pkg/backup"
)

// Lift takes the block off a device where it is one of those that are meant, and says whether it did. A scheduler sees the
// change and makes a task.
func (p *Parts) Lift(ctx context.Context, key string, meant func(backup.Block) bool) (bool, error) {
	return p.amend(ctx, key, func(s *backup.State) bool {
		if s.Block == nil || !meant(*s.Block) {
			return false
		}
		s.Block = nil
		return true
	})
}

// amend changes a device's state by compare-and-set, where change says that it did.
func (p *Parts) amend(ctx context.Context, key string, change func(*backup.State) bool) (bool, error) {
	for {
		s, revision, err := p.Store.State(ctx, key)
		if err != nil || !change(&s) {
			return false, err
		}
		if _, err = p.Store.PutState(ctx, key, s, revision); !errors.Is(err, backup.ErrConflict) {
			return err == nil, err
		}
	}
}
