package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

// ArchiverName is the archiver's durable consumer on both streams. While it is there, whether an archiver runs or not, the
// stream of snapshots drops nothing by itself.
const ArchiverName = "archiver"

const (
	// AckTimeout is how long the server waits for the acknowledgement of a message before it hands it out again: after the
	// death of an archiver its last batch comes again this late.
	AckTimeout = 30 * time.Second
	// TakeMax is how many messages are handed over at once, at most.
	TakeMax = 64
	// takeBytes bounds the texts that are handed over at once; one snapshot may be more than that by itself.
	takeBytes = 32 << 20

	fetchTimeout = 5 * time.Second       // of one request for messages, answered or not
	fetchBytes   = 16 << 20              // of one request, or two messages of the server's largest size
	gatherDelay  = 20 * time.Millisecond // without a message ends a batch
	tidyInterval = time.Second           // while messages come
	reopenDelay  = 500 * time.Millisecond
)

// ConsumeSnapshots hands every snapshot on the stream to take, in batches, for as long as ctx lasts, and keeps its place on
// the server: what take has not returned nil for comes again, to this process or the next, and what it has may come again
// too, after an acknowledgement was lost. Of each subject the newest 3 that were taken stay on the stream, or 1 while it is
// nearly full; older ones are removed, and with them their large texts. One process at a time may call it.
//
// It survives restarts of the server, and makes a consumer or a stream that was deleted anew; what interrupted it goes to
// Options.Report. The error is take's, or nil where ctx ended.
func (s *Stream) ConsumeSnapshots(ctx context.Context, take func(context.Context, []backup.Arrival) error) error {
	c := &consumption{Stream: s, name: SnapshotStream, take: take, arrive: s.snapshot, ledger: newLedger(), orphan: orphanAge}
	return c.run(ctx)
}

// ConsumeUnchanged is ConsumeSnapshots for the events that say that a device's export was proven and equals its last one.
// Nothing is removed.
func (s *Stream) ConsumeUnchanged(ctx context.Context, take func(context.Context, []backup.Arrival) error) error {
	c := &consumption{Stream: s, name: EventStream, filter: eventPrefix + string(backup.EventUnchanged) + ".>", take: take, arrive: unchanged}
	return c.run(ctx)
}

// consumption is one consuming, for one goroutine.
type consumption struct {
	*Stream
	name   string // of the stream
	filter string // "": all subjects
	take   func(context.Context, []backup.Arrival) error
	arrive func(context.Context, *backup.Arrival) error // opens what came; an error means that ctx ended

	ledger  *ledger       // nil: nothing is ever removed
	orphan  time.Duration // age from which an object that no message names is one
	created time.Time     // of the stream that the ledger is about
	held    uint64        // the last message that a forerunner had in hand; 0: see inHand
	wait    time.Duration // of the next request
	tidied  time.Time     // when tidy last ran
	swept   time.Time     // when objects that no message names were last looked for
	told    bool          // of the present outage
	untidy  bool          // the last removal failed; told once
}

// takeError is what take returned.
type takeError struct{ error }

func (c *consumption) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := c.once(ctx)
		if own, ok := errors.AsType[takeError](err); ok && ctx.Err() == nil {
			return own.error
		}
		if err != nil && ctx.Err() == nil && !c.told {
			c.told = true
			c.report(natsio.Fail("consume stream "+c.name, err))
		}
		pause(ctx, reopenDelay)
	}
	return nil
}

// once consumes until something breaks.
func (c *consumption) once(ctx context.Context) error {
	consumer, err := c.open(ctx)
	if err != nil {
		return err
	}
	c.told = false
	c.tidy(ctx)
	size := int(max(fetchBytes, 2*c.conn.MaxPayload()))
	for c.wait = fetchTimeout; ctx.Err() == nil; {
		if err := c.request(ctx, consumer, size); err != nil {
			return err
		}
		c.tidy(ctx)
	}
	return nil
}

// request asks for messages once, and has them taken. No more wait here than it asks for: what is ahead of the archiver
// stands on the server.
func (c *consumption) request(ctx context.Context, consumer jetstream.Consumer, size int) error {
	// The request ends with its context: one that outlives it would be given messages that nobody takes.
	within, cancel := context.WithTimeoutCause(ctx, c.wait, fmt.Errorf("no answer from NATS within %s", c.wait))
	defer cancel()
	batch, err := consumer.Fetch(TakeMax, jetstream.FetchMaxBytes(size), jetstream.FetchContext(within))
	if err != nil {
		return err
	}
	if err := c.work(ctx, batch.Messages()); err != nil {
		giveBack(batch.Messages())
		return err
	}
	if err := batch.Error(); err != nil && ctx.Err() == nil {
		return cause(within, err)
	}
	return nil
}

// work takes what one request brings, in as many batches as it comes in.
func (c *consumption) work(ctx context.Context, messages <-chan jetstream.Msg) error {
	for open := true; open; {
		var got []jetstream.Msg
		if got, open = gather(ctx, messages); ctx.Err() != nil {
			giveBack(messages)
			handBack(got)
			return nil
		}
		if err := c.hand(ctx, got); err != nil {
			return err
		}
		if time.Since(c.tidied) >= tidyInterval {
			c.tidy(ctx)
		}
	}
	return nil
}

// gather waits for a message and takes those that follow it at once; open is false when no more will come.
func gather(ctx context.Context, messages <-chan jetstream.Msg) (got []jetstream.Msg, open bool) {
	var quiet <-chan time.Time
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return got, false
			}
			got = append(got, m)
			quiet = time.After(gatherDelay)
		case <-quiet:
			return got, true
		case <-ctx.Done():
			return got, false
		}
	}
}

// giveBack lets the server hand out again at once what waits here; what cannot be given back it hands out after AckTimeout.
func giveBack(messages <-chan jetstream.Msg) {
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return
			}
			handBack([]jetstream.Msg{m})
		default:
			return
		}
	}
}

func handBack(got []jetstream.Msg) {
	for _, m := range got {
		_ = m.Nak()
	}
}

// hand opens messages, has them taken and acknowledges them, as many at once as their texts allow.
func (c *consumption) hand(ctx context.Context, got []jetstream.Msg) error {
	var arrivals []backup.Arrival
	begin, size := 0, 0
	for i, m := range got {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		a := backup.Arrival{Subject: m.Subject(), Seq: meta.Sequence.Stream, At: meta.Timestamp, Data: m.Data()}
		if err := c.arrive(ctx, &a); err != nil {
			return err
		}
		arrivals = append(arrivals, a)
		if size += weight(a); size < takeBytes && i < len(got)-1 {
			continue
		}
		if err := c.take(ctx, arrivals); err != nil {
			handBack(got[begin:])
			return takeError{err}
		}
		if err := c.acknowledge(got[begin:i+1], arrivals); err != nil {
			return err
		}
		begin, size, arrivals = i+1, 0, nil
	}
	return nil
}

func weight(a backup.Arrival) int {
	n := len(a.Data) + len(a.Raw)
	if a.Snapshot != nil {
		n += len(a.Snapshot.ConfigText)
	}
	return n
}

// acknowledge sends the acknowledgements; one that is lost brings its message again.
func (c *consumption) acknowledge(got []jetstream.Msg, arrivals []backup.Arrival) error {
	var errs []error
	for i, m := range got {
		if err := m.Ack(); err != nil {
			errs = append(errs, err)
			continue
		}
		if c.ledger != nil {
			c.ledger.add(entry{arrivals[i].Subject, arrivals[i].Seq, objectOf(arrivals[i])})
		}
	}
	return errors.Join(errs...)
}

func objectOf(a backup.Arrival) string {
	if a.Snapshot == nil {
		return ""
	}
	return a.Snapshot.Object
}

// snapshot opens a snapshot, waiting for its object through every outage.
func (s *Stream) snapshot(ctx context.Context, a *backup.Arrival) error {
	tail, ok := strings.CutPrefix(a.Subject, createPrefix)
	if !ok {
		tail = strings.TrimPrefix(a.Subject, largePrefix)
	}
	a.Site, a.Device, a.Err = device.SplitKey(tail)
	if a.Err != nil {
		a.Site, a.Device = "", ""
		return nil
	}
	snap, err := backup.DecodeSnapshot(a.Data)
	if err == nil && snap.Object != "" {
		name := snap.Object
		err = s.atLast(ctx, "consume stream "+SnapshotStream, name, func(ctx context.Context) error {
			data, err := s.object(ctx, name)
			if err == nil {
				a.Data = data
			}
			return err
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			snap, err = backup.DecodeSnapshot(a.Data)
			snap.Object = name
		}
	}
	if err == nil && len(snap.RawSnappy) > 0 {
		if a.Raw, err = OpenRaw(snap); err != nil {
			err = fmt.Errorf("its raw text does not open: %w", err)
		}
	}
	if a.Err = err; err == nil {
		a.Snapshot = &snap
	}
	return nil
}

// LastArrival reads the newest snapshot of a device that is still on the stream, with its texts.
func (s *Stream) LastArrival(ctx context.Context, site, id string) (a backup.Arrival, found bool, err error) {
	snap, seq, found, err := s.Last(ctx, site, id)
	if err != nil || !found {
		return a, false, err
	}
	a = backup.Arrival{Site: site, Device: id, Seq: seq, Snapshot: &snap}
	if len(snap.RawSnappy) > 0 {
		if a.Raw, err = OpenRaw(snap); err != nil {
			return a, false, fault.New(fault.Infrastructure, "read last snapshot", "message %d: its raw text does not open: %w", seq, err)
		}
	}
	return a, true, nil
}

// unchanged opens an event.
func unchanged(_ context.Context, a *backup.Arrival) error {
	tail := strings.TrimPrefix(a.Subject, eventPrefix+string(backup.EventUnchanged)+".")
	a.Site, a.Device, a.Err = device.SplitKey(tail)
	if a.Err != nil {
		a.Site, a.Device = "", ""
		return nil
	}
	e, err := backup.DecodeEvent(a.Data)
	if a.Err = err; err == nil {
		a.Event = &e
	}
	return nil
}

// open finds or makes the durable consumer, and has the stream keep what is not taken yet. After a restart, or where the
// stream was made anew, it reads what stands on the stream and was taken before.
func (c *consumption) open(ctx context.Context) (jetstream.Consumer, error) {
	opened, err := openStream(ctx, c.conn.JetStream(), c.wanted(), false)
	if err != nil {
		return nil, err
	}
	var consumer jetstream.Consumer
	err = natsio.Do(ctx, OpenTimeout, "open consumer", func(ctx context.Context) (err error) {
		consumer, err = opened.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: ArchiverName, Description: "what the archive has not taken yet", FilterSubject: c.filter,
			DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: AckTimeout, MaxDeliver: -1,
		})
		return err
	})
	if err != nil || c.ledger == nil {
		return consumer, err
	}
	if created := opened.CachedInfo().Created; !created.Equal(c.created) {
		// Its sequences may begin anew, and those of the old ledger would name other messages.
		c.ledger, c.swept = newLedger(), time.Time{}
		info := consumer.CachedInfo()
		if err := c.readTaken(ctx, info.AckFloor.Stream); err != nil {
			return nil, err
		}
		c.created, c.held = created, inHand(info)
	}
	return consumer, nil
}

// inHand is the last message that was handed out while an earlier one is not acknowledged; 0: all are. Between the two some
// are acknowledged, of which the server does not tell before the earlier ones are too.
func inHand(info *jetstream.ConsumerInfo) uint64 {
	if info.Delivered.Stream > info.AckFloor.Stream {
		return info.Delivered.Stream
	}
	return 0
}

// wanted is the stream as it should be while an archiver takes what is on it.
func (c *consumption) wanted() jetstream.StreamConfig {
	o := c.options
	o.PerSubject = 0
	for _, cfg := range configs(o) {
		if cfg.Name == c.name {
			return cfg
		}
	}
	panic("stream: no stream " + c.name)
}

// Archived says whether there was an archiver, running or not, when the streams were opened.
func (s *Stream) Archived() bool { return s.archived }

// hasArchiver says whether the archiver's durable consumer is on the stream of snapshots.
func hasArchiver(ctx context.Context, js jetstream.JetStream) (found bool, err error) {
	err = natsio.Do(ctx, OpenTimeout, "look for an archiver", func(ctx context.Context) error {
		_, err := js.Consumer(ctx, SnapshotStream, ArchiverName)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		found = err == nil
		return err
	})
	if err != nil {
		return false, fault.New(fault.Infrastructure, "open streams", "consumer %s: %w", ArchiverName, err)
	}
	return found, nil
}
