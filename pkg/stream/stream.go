// Package stream publishes and reads what travels: the snapshots of changed configurations, the small events of every
// attempt and the texts that were not proven, on one JetStream stream each, and an object store for snapshots that do not
// fit a message.
package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// The names on the server.
const (
	SnapshotStream = "CONFIG_SNAPSHOTS"
	EventStream    = "CONFIG_EVENTS"
	SuspectStream  = "CONFIG_SUSPECTS"
	AuditStream    = "CONFIG_AUDIT"
	LargeBucket    = "CONFIG_LARGE"

	createPrefix  = "config.snapshot.create."
	largePrefix   = "config.snapshot.large."
	bothPrefix    = "config.snapshot.*."
	eventPrefix   = "config.backup."
	diffPrefix    = "config.diff."
	auditPrefix   = "config.audit."
	suspectPrefix = "config.suspect."
)

const (
	// OpenTimeout bounds the making or finding of one stream.
	OpenTimeout = 10 * time.Second
	// PublishTimeout bounds one try to publish.
	PublishTimeout = 10 * time.Second
	// ReadTimeout bounds the reading of a device's last message.
	ReadTimeout = 5 * time.Second
	// ObjectTimeout bounds the writing or reading of one large snapshot.
	ObjectTimeout = 30 * time.Second
	// EventAge is how long events are kept.
	EventAge = 7 * 24 * time.Hour
	// SuspectAge is how long the text of an attempt that could not prove it is kept.
	SuspectAge = 7 * 24 * time.Hour
	// SuspectBytes bounds those of all devices; beyond it the oldest go.
	SuspectBytes = 256 << 20
	// AuditAge is how long it is kept who asked for what.
	AuditAge = 365 * 24 * time.Hour
	// AuditBytes bounds that, a few hundred bytes for each action; beyond it the oldest go.
	AuditBytes = 64 << 20

	// The server forgets message ids after this. It is short because its memory grows with it; what comes later than this
	// is caught by the expected sequence.
	duplicateWindow = 2 * time.Minute
)

// Options are the streams' limits.
type Options struct {
	SnapshotBytes int64 // of all snapshots that no archiver has taken yet, and again of the large ones; must be positive
	EventBytes    int64 // must be positive
	Replicas      int   // of streams that Open makes; 0: 1
	Existing      bool  // Open makes and changes none: a stream that is missing is an error
	// PerSubject is how many snapshots of a device are kept, the small and the large ones counted apart; 0: all, until an
	// archiver purges them. It does not hold where there is an archiver.
	PerSubject int
	Report     func(error) // hears of unreadable messages and of interrupted watches; may be nil; must not block
}

// Stream publishes and reads. It is safe for concurrent use. Errors are fault.Infrastructure unless said otherwise.
type Stream struct {
	conn      *natsio.Conn
	snapshots jetstream.Stream
	large     jetstream.ObjectStore
	report    func(error)
	options   Options
	archived  bool
}

// Open makes the streams and the object store that are missing, unless it may not. The limits of those that are there are
// raised to what o says and never lowered, because lowering them deletes.
func Open(ctx context.Context, conn *natsio.Conn, o Options) (*Stream, error) {
	if o.SnapshotBytes <= 0 || o.EventBytes <= 0 {
		return nil, fault.New(fault.Internal, "open streams", "the sizes must be positive")
	}
	s := &Stream{conn: conn, report: o.Report, options: o}
	if s.report == nil {
		s.report = func(error) {}
	}
	var err error
	if s.archived, err = hasArchiver(ctx, conn.JetStream()); err != nil {
		return nil, err
	}
	if s.archived {
		o.PerSubject = 0
	}
	for _, cfg := range configs(o) {
		opened, err := openStream(ctx, conn.JetStream(), cfg, o.Existing)
		if err != nil {
			return nil, natsio.Fail("open streams", fmt.Errorf("stream %s: %w", cfg.Name, err))
		}
		if cfg.Name == SnapshotStream {
			s.snapshots = opened
		}
	}
	err = natsio.Do(ctx, OpenTimeout, "open streams", func(ctx context.Context) (err error) {
		s.large, err = openBucket(ctx, conn.JetStream(), o)
		return err
	})
	if err != nil {
		return nil, natsio.Fail("open streams", fmt.Errorf("object store %s: %w", LargeBucket, err))
	}
	return s, nil
}

// configs are the streams as they should be.
func configs(o Options) []jetstream.StreamConfig {
	perSubject := int64(-1)
	if o.PerSubject > 0 {
		perSubject = int64(o.PerSubject)
	}
	return []jetstream.StreamConfig{{
		Name: SnapshotStream, Subjects: []string{createPrefix + ">", largePrefix + ">"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Replicas: max(o.Replicas, 1),
		// A full stream refuses the new: what no archiver has taken must not go. The limit per subject drops the oldest all the same.
		Discard: jetstream.DiscardNew, MaxBytes: o.SnapshotBytes, MaxMsgsPerSubject: perSubject,
		Duplicates: duplicateWindow, AllowDirect: true,
	}, {
		// Not config.backup.> as a whole: a request on config.backup.trigger is no event.
		Name: EventStream, Subjects: []string{eventPrefix + "unchanged.>", eventPrefix + "failed.>", eventPrefix + "blocked.>", diffPrefix + ">"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Replicas: max(o.Replicas, 1),
		Discard: jetstream.DiscardOld, MaxBytes: o.EventBytes, MaxAge: EventAge, MaxMsgsPerSubject: -1,
		Duplicates: duplicateWindow, AllowDirect: true,
	}, {
		Name: SuspectStream, Subjects: []string{suspectPrefix + ">"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Replicas: max(o.Replicas, 1),
		Discard: jetstream.DiscardOld, MaxBytes: SuspectBytes, MaxAge: SuspectAge, MaxMsgsPerSubject: 1,
		Duplicates: duplicateWindow, AllowDirect: true,
	}, {
		// Of its own, so that the events of a large fleet do not crowd it out, and nobody takes a single record away.
		Name: AuditStream, Subjects: []string{auditPrefix + ">"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Replicas: max(o.Replicas, 1),
		Discard: jetstream.DiscardOld, MaxBytes: AuditBytes, MaxAge: AuditAge, MaxMsgsPerSubject: -1,
		Duplicates: duplicateWindow, AllowDirect: true, DenyDelete: true, DenyPurge: true,
	}}
}

// raised gives have with the limits of want where those are wider.
func raised(have, want jetstream.StreamConfig) (cfg jetstream.StreamConfig, changed bool) {
	wider := func(have *int64, want int64) {
		if *have > 0 && (want <= 0 || want > *have) {
			*have, changed = want, true
		}
	}
	wider(&have.MaxBytes, want.MaxBytes)
	wider(&have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	return have, changed
}

func openStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, existing bool) (opened jetstream.Stream, err error) {
	err = natsio.Do(ctx, OpenTimeout, "open streams", func(ctx context.Context) (err error) {
		opened, err = js.Stream(ctx, want.Name)
		if existing {
			return missing(err, jetstream.ErrStreamNotFound)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			opened, err = js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was quicker, with other limits
				opened, err = js.Stream(ctx, want.Name)
			}
		}
		if err != nil {
			return err
		}
		if cfg, changed := raised(opened.CachedInfo().Config, want); changed {
			opened, err = js.UpdateStream(ctx, cfg)
		}
		return err
	})
	return opened, err
}

// missing says who makes what is not there.
func missing(err, notFound error) error {
	if errors.Is(err, notFound) {
		return fmt.Errorf("start a scheduler, which makes it: %w", err)
	}
	return err
}

func openBucket(ctx context.Context, js jetstream.JetStream, o Options) (jetstream.ObjectStore, error) {
	bucket, err := js.ObjectStore(ctx, LargeBucket)
	if o.Existing {
		return bucket, missing(err, jetstream.ErrBucketNotFound)
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		bucket, err = js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: LargeBucket, Storage: jetstream.FileStorage, Replicas: max(o.Replicas, 1), MaxBytes: o.SnapshotBytes,
		})
		if errors.Is(err, jetstream.ErrBucketExists) {
			bucket, err = js.ObjectStore(ctx, LargeBucket)
		}
	}
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "OBJ_"+LargeBucket)
	if err != nil {
		return nil, err
	}
	if cfg, changed := raised(stream.CachedInfo().Config, jetstream.StreamConfig{MaxBytes: o.SnapshotBytes}); changed {
		_, err = js.UpdateStream(ctx, cfg)
	}
	return bucket, err
}
