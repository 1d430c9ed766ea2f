package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio/natsiotest"
	"github.com/confhaul/confhaul/pkg/stream"
)

const (
	// patience is longer than the server waits for an acknowledgement.
	patience     = stream.AckTimeout + natsiotest.Patience
	pollInterval = 20 * time.Millisecond
)

// consumer is a running ConsumeSnapshots.
type consumer struct {
	t    *testing.T
	seen chan backup.Arrival
	stop func() error
}

func (b *bench) consume() *consumer {
	b.t.Helper()
	c := &consumer{t: b.t, seen: make(chan backup.Arrival, 1024)}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.ConsumeSnapshots(ctx, func(_ context.Context, all []backup.Arrival) error {
			for _, a := range all {
				c.seen <- a
			}
			return nil
		})
	}()
	c.stop = func() error { cancel(); return natsiotest.Next(b.t, done) }
	return c
}

func (c *consumer) next() backup.Arrival {
	c.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a := <-c.seen:
		return a
	case <-timer.C:
		c.t.Fatal("nothing came")
		panic("unreachable")
	}
}

// again waits for a message that may come a second time, and not as long as the server would.
func (b *bench) again(seen <-chan backup.Arrival) backup.Arrival {
	b.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case a := <-seen:
			return a
		case <-tick.C:
			natsiotest.Hurry(natsiotest.Within(b.t), b.conn.JetStream(), stream.SnapshotStream, stream.ArchiverName)
		case <-deadline:
			b.t.Fatal("nothing came")
		}
	}
}

// seqs are the messages that stand on the stream of snapshots.
func (b *bench) seqs() (out []uint64) {
	b.t.Helper()
	ctx := natsiotest.Within(b.t)
	s, err := b.conn.JetStream().Stream(ctx, stream.SnapshotStream)
	if err != nil {
		b.t.Fatal(err)
	}
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		if _, err := s.GetMsg(ctx, seq); err == nil {
			out = append(out, seq)
		} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
			b.t.Fatal(err)
		}
	}
	return out
}

// awaitSeqs waits until exactly these messages stand there.
func (b *bench) awaitSeqs(want ...uint64) {
	b.t.Helper()
	b.await(func() (string, bool) {
		got := b.seqs()
		return fmt.Sprintf("the stream has %v, want %v", got, want), slices.Equal(got, want)
	})
}

// awaitObjects waits until the store of large texts has so many.
func (b *bench) awaitObjects(want int) {
	b.t.Helper()
	b.await(func() (string, bool) {
		got := b.objects()
		return fmt.Sprintf("%d large texts, want %d", len(got), want), len(got) == want
	})
}

// await polls until ok.
func (b *bench) await(look func() (state string, ok bool)) {
	b.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		state, ok := look()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatal(state)
		}
	}
}

// chain publishes so many snapshots of the one device, from a number on.
func (b *bench) chain(from, n int) (last uint64) {
	b.t.Helper()
	if _, seq, found, err := b.Last(natsiotest.Within(b.t), "berlin", "r:1"); err != nil {
		b.t.Fatal(err)
	} else if found {
		last = seq
	}
	for i := from; i < from+n; i++ {
		last = b.publish(snap(fmt.Sprint("text ", i), i), last)
	}
	return last
}

// durable is the archiver's consumer, for a hand that takes its messages without being one.
func (b *bench) durable() jetstream.Consumer {
	b.t.Helper()
	c, err := b.conn.JetStream().Consumer(natsiotest.Within(b.t), stream.SnapshotStream, stream.ArchiverName)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) fetch(n int) (out []jetstream.Msg) {
	b.t.Helper()
	got, err := b.durable().Fetch(n, jetstream.FetchMaxWait(natsiotest.Patience))
	if err != nil {
		b.t.Fatal(err)
	}
	for m := range got.Messages() {
		out = append(out, m)
	}
	if len(out) != n {
		b.t.Fatalf("%d messages, want %d: %v", len(out), n, got.Error())
	}
	return out
}

func TestConsumeTakesEachAndLeavesThree(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{PerSubject: 100})
	b.chain(0, 5)
	c := b.consume()
	for i := range 5 {
		a := c.next()
		if a.Err != nil || a.Seq != uint64(i+1) || a.Site != "berlin" || a.Device != "r:1" || a.At.IsZero() ||
			a.Snapshot.ConfigText != fmt.Sprint("text ", i) || string(a.Raw) != "raw "+a.Snapshot.ConfigText {
			t.Errorf("%d: %+v", i, a)
		}
	}
	b.awaitSeqs(3, 4, 5)
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if got, seq := b.last(); seq != 5 || got.ConfigText != "text 4" {
		t.Errorf("last is %d, %+v", seq, got)
	}
	b.chain(5, 1) // the worker's expected sequence still holds
	c = b.consume()
	if a := c.next(); a.Seq != 6 {
		t.Errorf("got %d after a restart, want what is new", a.Seq)
	}
	b.awaitSeqs(4, 5, 6)
	if err := c.stop(); err != nil || len(c.seen) > 0 {
		t.Errorf("%v, %d more", err, len(c.seen))
	}
}

func TestConsumeBringsAgainWhatWasNotTaken(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	b.chain(0, 5)
	own := errors.New("own")
	err := b.ConsumeSnapshots(natsiotest.Within(t), func(context.Context, []backup.Arrival) error { return own })
	if !errors.Is(err, own) {
		t.Fatalf("got %v", err)
	}
	c := b.consume()
	seen := map[uint64]bool{}
	for len(seen) < 5 {
		seen[b.again(c.seen).Seq] = true
	}
	b.awaitSeqs(3, 4, 5)
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// TestConsumeAfterADeathInMidBatch: a killed archiver had three messages in hand and had acknowledged two of them. The third
// is older than those taken since, and stays until it comes again. Only then the server tells of the two.
func TestConsumeAfterADeathInMidBatch(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	b.awaitDurable()
	b.chain(0, 7)
	for _, m := range b.fetch(3)[1:] {
		if err := m.DoubleAck(natsiotest.Within(t)); err != nil {
			t.Fatal(err)
		}
	}
	c := b.consume()
	for seq := uint64(4); seq <= 7; seq++ {
		if a := c.next(); a.Seq != seq {
			t.Errorf("got %d, want %d", a.Seq, seq)
		}
	}
	b.awaitSeqs(1, 2, 3, 5, 6, 7)
	if a := b.again(c.seen); a.Seq != 1 {
		t.Errorf("got %d, want the one that was held", a.Seq)
	}
	b.awaitSeqs(5, 6, 7)
	if err := c.stop(); err != nil || len(c.seen) > 0 {
		t.Errorf("%v, %d more", err, len(c.seen))
	}
}

// awaitDurable makes sure that the consumer is there.
func (b *bench) awaitDurable() {
	b.t.Helper()
	c := b.consume()
	b.await(func() (string, bool) {
		l, err := b.Backlog(natsiotest.Within(b.t))
		return fmt.Sprint("no consumer ", err), err == nil && l.Archiver
	})
	if err := c.stop(); err != nil {
		b.t.Fatal(err)
	}
}

// TestConsumeRemovesWhatItsForerunnerTook: killed between acknowledgement and removal.
func TestConsumeRemovesWhatItsForerunnerTook(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	b.awaitDurable()
	b.chain(0, 5)
	last := uint64(5)
	for i := range 4 { // large ones stand on a subject of their own
		last = b.publish(snap(noise(300<<10, i+1), 10+i), last)
	}
	for _, m := range b.fetch(9) {
		if err := m.DoubleAck(natsiotest.Within(t)); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitObjects(4)
	c := b.consume()
	b.awaitSeqs(3, 4, 5, 7, 8, 9)
	b.awaitObjects(3) // those of the messages that stay
	if err := c.stop(); err != nil || len(c.seen) > 0 {
		t.Errorf("%v, %d were handed over again", err, len(c.seen))
	}
	if got, seq := b.last(); seq != 9 || len(got.ConfigText) != 300<<10 {
		t.Errorf("last is %d with %d bytes", seq, len(got.ConfigText))
	}
}

func (b *bench) objects() []string {
	b.t.Helper()
	store, err := b.conn.JetStream().ObjectStore(natsiotest.Within(b.t), stream.LargeBucket)
	if err != nil {
		b.t.Fatal(err)
	}
	list, err := store.List(natsiotest.Within(b.t))
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		b.t.Fatal(err)
	}
	var out []string
	for _, o := range list {
		out = append(out, o.Name)
	}
	return out
}

func TestConsumeSaysWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{}, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	publish := func(subject string, s any) {
		t.Helper()
		data := []byte("{")
		if s != nil {
			var err error
			if data, err = backup.EncodeEvent(s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.conn.JetStream().Publish(natsiotest.Within(t), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	cut := snap("a", 1)
	cut.RawSnappy = []byte("none")
	publish("config.snapshot.create.berlin.r9", nil)
	publish("config.snapshot.create.berlin", snap("a", 1))
	publish("config.snapshot.create.berlin.r1", cut)
	publish("config.snapshot.large.berlin.r1", backup.Snapshot{Object: "gone"})
	b.publish(snap("good", 2), 0)
	c := b.consume()
	for i := range 4 {
		if a := c.next(); a.Err == nil || a.Snapshot != nil || len(a.Data) == 0 {
			t.Errorf("%d: %+v", i+1, a)
		}
	}
	if a := c.next(); a.Err != nil || a.Snapshot.ConfigText != "good" {
		t.Errorf("the good one: %+v", a)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// TestConsumeSurvives restarts the server, then takes consumer and stream away.
func TestConsumeSurvives(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	inside, free := make(chan struct{}), make(chan struct{})
	taken := make(chan backup.Arrival, 64)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		first := true
		done <- b.ConsumeSnapshots(ctx, func(_ context.Context, all []backup.Arrival) error {
			if first {
				first = false
				close(inside)
				<-free
			}
			for _, a := range all {
				taken <- a
			}
			return nil
		})
	}()
	await := func(want uint64) {
		t.Helper()
		for b.again(taken).Seq != want {
			continue
		}
	}
	publish := func(n int, last uint64) uint64 {
		t.Helper()
		for {
			seq, err := b.PublishSnapshot(natsiotest.Within(t), snap(fmt.Sprint("text ", n), n), nil, last)
			if err == nil {
				return seq
			}
		}
	}
	b.chain(0, 4)
	natsiotest.Next(t, inside)
	b.srv.Stop() // while a batch is in hand: its acknowledgements are lost
	b.srv.Start()
	close(free)
	await(4)
	seq := publish(4, 4)
	await(seq)
	b.awaitSeqs(3, 4, 5)

	if err := b.conn.JetStream().DeleteConsumer(natsiotest.Within(t), stream.SnapshotStream, stream.ArchiverName); err != nil {
		t.Fatal(err)
	}
	seq = publish(5, seq)
	await(seq) // all that is there comes again: harmless
	b.awaitSeqs(4, 5, 6)

	if err := b.conn.JetStream().DeleteStream(natsiotest.Within(t), stream.SnapshotStream); err != nil {
		t.Fatal(err)
	}
	seq = publish(6, seq)
	if seq != 1 {
		t.Fatalf("sequence %d on a new stream", seq)
	}
	for n := 7; n < 10; n++ {
		seq = publish(n, seq)
	}
	await(4)
	b.awaitSeqs(2, 3, 4) // the messages 4 to 6 of the old stream count no more
	cancel()
	if err := natsiotest.Next(t, done); err != nil {
		t.Error(err)
	}
}

// TestConsumeMakesRoom: nearly full, one snapshot of each device is left, and what was refused is taken.
func TestConsumeMakesRoom(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{SnapshotBytes: 256 << 10})
	var last uint64
	var err error
	n := 0
	for err == nil {
		var seq uint64
		if seq, err = b.PublishSnapshot(natsiotest.Within(t), snap(noise(20<<10, n), n), nil, last); err == nil {
			last, n = seq, n+1
		}
	}
	if l, err := b.Backlog(natsiotest.Within(t)); err != nil || !l.NearlyFull() || l.Archiver {
		t.Errorf("backlog %+v, %v", l, err)
	}
	c := b.consume()
	for range n {
		c.next()
	}
	b.awaitSeqs(last)
	if _, err := b.PublishSnapshot(natsiotest.Within(t), snap(noise(20<<10, n), n), nil, last); err != nil {
		t.Errorf("what was refused is still: %v", err)
	}
	c.next()
	b.awaitSeqs(last, last+1) // with room again it is three
	if err := c.stop(); err != nil {
		t.Error(err)
	}
	if l, err := b.Backlog(natsiotest.Within(t)); err != nil || l.NearlyFull() || !l.Archiver || l.Pending != 0 || !l.Oldest.IsZero() {
		t.Errorf("backlog %+v, %v", l, err)
	}
}

func TestArchiverLiftsTheLimitPerSubject(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{PerSubject: 2})
	limit := func() int64 {
		t.Helper()
		s, err := b.conn.JetStream().Stream(natsiotest.Within(t), stream.SnapshotStream)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Config.MaxMsgsPerSubject
	}
	if n := limit(); n != 2 || b.Archived() {
		t.Fatalf("limit %d, archived %v", n, b.Archived())
	}
	b.awaitDurable()
	b.chain(0, 4)
	b.await(func() (string, bool) { // what is pending the server counts a moment later than it acknowledges
		l, err := b.Backlog(natsiotest.Within(t))
		return fmt.Sprintf("backlog of a stopped archiver: %+v, %v", l, err),
			err == nil && l.Pending == 4 && time.Since(l.Oldest) < 2*patience && !l.Oldest.IsZero()
	})
	again, err := stream.Open(natsiotest.Within(t), b.conn, stream.Options{SnapshotBytes: megabyte, EventBytes: megabyte, PerSubject: 2})
	if err != nil || !again.Archived() || limit() != -1 {
		t.Errorf("opened again: archived %v, limit %d, %v", again.Archived(), limit(), err)
	}
	if n := len(b.seqs()); n != 4 {
		t.Errorf("%d messages, want all that nobody has taken", n)
	}
}

func TestConsumeUnchanged(t *testing.T) {
	t.Parallel()
	b := open(t, stream.Options{})
	for i, kind := range []backup.EventType{backup.EventFailed, backup.EventUnchanged, backup.EventBlocked, backup.EventUnchanged} {
		if err := b.PublishEvent(natsiotest.Within(t), event(kind, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(chan backup.Arrival, 16)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.ConsumeUnchanged(ctx, func(_ context.Context, all []backup.Arrival) error {
			for _, a := range all {
				seen <- a
			}
			return nil
		})
	}()
	for _, attempt := range []string{"1", "3"} {
		if a := natsiotest.Next(t, seen); a.Err != nil || a.Event.Attempt != attempt || a.Site != "berlin" || a.Device != "r:1" {
			t.Errorf("got %+v, want attempt %s", a, attempt)
		}
	}
	cancel()
	if err := natsiotest.Next(t, done); err != nil || len(seen) > 0 {
		t.Errorf("%v, %d more", err, len(seen))
	}
}
