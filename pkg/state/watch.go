package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// Where a deletion stands in the headers of a KV message.
const (
	headerOperation = "KV-Operation"
	headerMarker    = "Nats-Marker-Reason"
)

// Watch gives fn every record of the buckets, calls ready once when all that stood there has come, and goes on with what
// changes, until ctx ends, which is no error, or fn fails, whose error it returns. All calls come from the caller's
// goroutine. A record may come twice: after the bucket was made anew. It survives restarts of the server; what
// interrupted it and what is unreadable goes to Options.Report.
func (s *Store) Watch(ctx context.Context, fn func(backup.Change) error, ready func(), buckets ...backup.Bucket) error {
	return s.WatchKeys(ctx, nil, fn, ready, buckets...)
}

// WatchKeys is Watch for the records with one of the keys; no keys: all. A few keys cost the same in a fleet of any size.
func (s *Store) WatchKeys(ctx context.Context, keys []string, fn func(backup.Change) error, ready func(), buckets ...backup.Bucket) error {
	return s.conn.Read(ctx, s.readers(keys, fn, ready, buckets...)...)
}

// readers has one for each bucket.
func (s *Store) readers(keys []string, fn func(backup.Change) error, ready func(), buckets ...backup.Bucket) []natsio.Reader {
	waiting := len(buckets)
	readers := make([]natsio.Reader, 0, len(buckets))
	for _, b := range buckets {
		r := s.reader(b, fn)
		for _, key := range keys {
			r.Subjects = append(r.Subjects, subject(b, key))
		}
		r.OnCaughtUp = func() error {
			if waiting--; waiting == 0 && ready != nil {
				ready()
			}
			return nil
		}
		readers = append(readers, r)
	}
	return readers
}

// streamOf is the stream of a bucket.
func streamOf(b backup.Bucket) string { return "KV_" + bucketPrefix + string(b) }

// subject is where a bucket's stream keeps a key; * stands for any one token of it, > for all at its end.
func subject(b backup.Bucket, key string) string {
	return "$KV." + bucketPrefix + string(b) + "." + key
}

// list gives fn every record of a bucket that is not deleted, with one of the keys where any are given.
func (s *Store) list(ctx context.Context, b backup.Bucket, fn func(backup.Change), keys ...string) error {
	r := s.reader(b, func(c backup.Change) error {
		if !c.Deleted {
			fn(c)
		}
		return nil
	})
	for _, key := range keys {
		r.Subjects = append(r.Subjects, subject(b, key))
	}
	return s.readAll(ctx, "list "+string(b), r)
}

// readAll reads what a bucket holds now.
func (s *Store) readAll(ctx context.Context, step string, r natsio.Reader) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ListTimeout, fmt.Errorf("not read within %s", ListTimeout))
	defer cancel()
	done := errors.New("all read")
	r.OnCaughtUp = func() error { return done }
	switch err := s.conn.Read(ctx, r); {
	case errors.Is(err, done):
		return nil
	case err != nil:
		return natsio.Fail(step, err)
	}
	return fault.New(fault.Infrastructure, step, "%w", context.Cause(ctx))
}

func (s *Store) reader(b backup.Bucket, fn func(backup.Change) error) natsio.Reader {
	prefix := subject(b, "")
	return natsio.Reader{
		Stream: streamOf(b), LastPerSubject: true, Report: s.report,
		OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			c := backup.Change{
				Bucket: b, Key: strings.TrimPrefix(m.Subject(), prefix), Revision: meta.Sequence.Stream,
				Deleted: m.Headers().Get(headerOperation) != "" || m.Headers().Get(headerMarker) != "",
			}
			if err := decode(&c, m.Data()); err != nil {
				s.report(fault.New(fault.Infrastructure, "read "+string(b), "the record %s is unreadable: %w", c.Key, err))
				return nil
			}
			return fn(c)
		},
	}
}

// decode fills the field of the change's bucket.
func decode(c *backup.Change, data []byte) error {
	if c.Deleted {
		return nil
	}
	switch c.Bucket {
	case backup.BucketDevices:
		return json.Unmarshal(data, &c.Device)
	case backup.BucketState:
		return json.Unmarshal(data, &c.State)
	case backup.BucketSites:
		return json.Unmarshal(data, &c.Site)
	case backup.BucketRequests:
		return json.Unmarshal(data, &c.Request)
	case backup.BucketCredentials:
		return json.Unmarshal(data, &c.Breaker)
	case bucketHostKeys:
		return json.Unmarshal(data, &c.HostKey)
	}
	return fmt.Errorf("bucket %s is not watched", c.Bucket)
}
