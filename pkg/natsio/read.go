package natsio

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// OpenTimeout bounds the start of reading a stream; reading starts again after it.
	OpenTimeout = 5 * time.Second
	// ReopenDelay is the wait before reading starts again.
	ReopenDelay = 250 * time.Millisecond
	// A server that sends neither message nor heartbeat for twice heartbeatInterval has lost us.
	heartbeatInterval = 5 * time.Second
	// recordsMax is how many records wait in the client's buffer at most: they are small, and where nats.go is given bytes
	// alone it makes room for a million messages, 8 MB that each garbage collection goes through.
	recordsMax = 500
	// How long the server keeps the place of a reader that does not ask any more.
	inactiveTTL = 30 * time.Second
	// turnsMax is how often a reader of records goes on for those that were written over while it read. Each turn is shorter
	// than the one before where it reads faster than others write.
	turnsMax = 5
)

// Reader says what to read of a stream, and who hears of it.
type Reader struct {
	Stream         string
	Subjects       []string  // none: all
	LastPerSubject bool      // of records: begin with the last message of each subject, not with the first of all
	NewOnly        bool      // begin after what stands there at the start
	Since          time.Time // begin with what came at this time or later; zero: with all
	HeadersOnly    bool      // messages come without their data
	// OnMessage gets each message once and in order, but all of them again where the stream was lost and made anew. An error ends Read.
	OnMessage func(jetstream.Msg, *jetstream.MsgMetadata) error
	// OnCaughtUp, where set, is called once, when all that stood on the stream at the start has been read. An error ends Read.
	OnCaughtUp func() error
	// Report hears, once for each outage, why reading was interrupted.
	Report func(error)
}

// Read reads until ctx ends, which is no error, or a callback fails, whose error it returns. It survives restarts of the
// server. All callbacks of all readers are called from the caller's goroutine. At most one message of each reader waits
// for it here, and in the client's buffer twice the server's max payload, or 500 records.
func (c *Conn) Read(ctx context.Context, readers ...Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	calls := make(chan func() error)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, r := range readers {
		rd := &reading{Reader: r, conn: c, calls: calls}
		wg.Go(func() { rd.run(ctx) })
	}
	for {
		select {
		case call := <-calls:
			if err := call(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// reading is one Reader at work.
type reading struct {
	Reader
	conn  *Conn
	calls chan<- func() error

	last     uint64 // stream sequence of the last message handed over
	created  time.Time
	caughtUp bool
	told     bool // of the present outage
}

var (
	errReconnected = errors.New("the connection was replaced")
	errEnded       = errors.New("reading ended")
	errGap         = errors.New("the server left out a message")
)

func (r *reading) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.once(ctx)
		if ctx.Err() != nil || errors.Is(err, errEnded) {
			return
		}
		if errors.Is(err, errReconnected) {
			continue
		}
		if !r.told {
			r.told = true
			r.tell(ctx, fmt.Errorf("read stream %s: %w", r.Stream, plain(err)))
		}
		pause(ctx, ReopenDelay)
	}
}

// tell has Report called by the goroutine that calls everything.
func (r *reading) tell(ctx context.Context, err error) {
	if r.Report != nil {
		r.call(ctx, func() error { r.Report(err); return nil })
	}
}

// call hands f over; false when there is nobody left to take it.
func (r *reading) call(ctx context.Context, f func() error) bool {
	select {
	case r.calls <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

// once reads until something breaks.
func (r *reading) once(ctx context.Context) error {
	session := r.conn.sessionContext()
	consumer, err := r.open(ctx)
	if err != nil {
		return err
	}
	ahead := jetstream.PullMessagesOpt(jetstream.PullMaxBytes(2 * r.conn.MaxPayload()))
	if r.LastPerSubject {
		ahead = jetstream.PullMaxMessages(recordsMax)
	}
	messages, err := consumer.Messages(ahead, jetstream.PullHeartbeat(heartbeatInterval))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	defer context.AfterFunc(session, messages.Stop)()
	r.told = false
	pending := consumer.CachedInfo().NumPending
	if pending == 0 && !r.catchUp(ctx) {
		return errEnded
	}
	turns := 1 // to go until all that stood there at the start has been read
	if r.LastPerSubject {
		turns = turnsMax
	}
	for n := uint64(1); ; n++ {
		m, err := messages.Next()
		if err != nil {
			if session.Err() != nil {
				return errReconnected
			}
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != n {
			return errGap
		}
		if !r.call(ctx, func() error { return r.OnMessage(m, meta) }) {
			return errEnded
		}
		r.last = meta.Sequence.Stream
		// Where others write without pause, nothing pending may never be seen.
		if n >= pending && turns > 0 {
			turns--
			pending = n + meta.NumPending
		}
		if (turns == 0 || meta.NumPending == 0) && !r.catchUp(ctx) {
			return errEnded
		}
	}
}

func (r *reading) catchUp(ctx context.Context) bool {
	if r.caughtUp {
		return true
	}
	r.caughtUp = true
	return r.OnCaughtUp == nil || r.call(ctx, r.OnCaughtUp)
}

// open makes a consumer that begins after the last message that was handed over.
func (r *reading) open(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, OpenTimeout, fmt.Errorf("not opened within %s", OpenTimeout))
	defer cancel()
	stream, err := r.conn.js.Stream(ctx, r.Stream)
	if err != nil {
		return nil, err
	}
	switch info := stream.CachedInfo(); {
	case r.created.IsZero():
		r.created = info.Created
		if r.NewOnly {
			r.last = info.State.LastSeq
		}
	case r.last > info.State.LastSeq, !r.created.Equal(info.Created):
		r.tell(ctx, fmt.Errorf("read stream %s: it is not the stream it was: reading it again from the start", r.Stream))
		r.created, r.last = info.Created, 0
	}
	cfg := jetstream.ConsumerConfig{
		Name:      rand.Text(), // nobody else can guess it, and read in our place
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubjects: r.Subjects,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: inactiveTTL, HeadersOnly: r.HeadersOnly,
	}
	switch {
	case r.last > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.last+1
	case !r.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since
	case r.LastPerSubject:
		cfg.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		if len(cfg.FilterSubjects) == 0 {
			cfg.FilterSubjects = []string{">"}
		}
	}
	if len(r.Subjects) == 1 { // it stands in the request's subject then, where the server can hold it against permissions
		cfg.FilterSubject, cfg.FilterSubjects = r.Subjects[0], nil
	}
	return stream.CreateConsumer(ctx, cfg)
}
