package state

import (
	"context"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// Breakers reads the records of all credential versions, by version. Unreadable ones are reported and left out.
func (s *Store) Breakers(ctx context.Context) (map[string]backup.Breaker, error) {
	out := map[string]backup.Breaker{}
	err := s.list(ctx, backup.BucketCredentials, func(c backup.Change) {
		version, err := device.Decode(c.Key)
		if err != nil {
			s.report(fault.New(fault.Infrastructure, "list credentials", "the record %s is unreadable: %w", c.Key, err))
			return
		}
		out[version] = c.Breaker
	})
	return out, err
}

// DeleteBreaker removes the record of a credential version: nothing is known of it then.
func (s *Store) DeleteBreaker(ctx context.Context, version string) error {
	return s.removeIfThere(ctx, backup.BucketCredentials, device.Encode(version))
}
