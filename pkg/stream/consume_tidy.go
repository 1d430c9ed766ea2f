package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/natsio"
)

const (
	// ScanTimeout bounds the reading of what stands on the stream when consuming begins: the headers of a million messages.
	ScanTimeout = 2 * time.Minute
	// RemoveTimeout bounds the removal of one message or object.
	RemoveTimeout = 5 * time.Second

	removeMax     = 1000                   // messages at once, so that what is new does not wait for long
	removesAtOnce = 8                      // requests under way
	hurryDelay    = 100 * time.Millisecond // between two removals while there is more to remove

	sweepInterval = 6 * time.Hour
	// orphanAge is longer than any worker holds a snapshot in hand, whose object comes before its message.
	orphanAge = 24 * time.Hour
)

// tidy removes what was taken and needs not stay. What fails is told once and tried again the next time: the archive has it.
func (c *consumption) tidy(ctx context.Context) {
	c.wait, c.tidied = fetchTimeout, time.Now()
	if c.ledger == nil || ctx.Err() != nil {
		return
	}
	err := c.readHeld(ctx)
	more := false
	if err == nil {
		more, err = c.trim(ctx)
	}
	if err == nil && time.Since(c.swept) >= sweepInterval {
		if err = c.sweep(ctx); err == nil {
			c.swept = time.Now()
		}
	}
	if more && err == nil {
		c.wait = hurryDelay
	}
	if err != nil && !c.untidy && ctx.Err() == nil {
		c.report(natsio.Fail("remove archived snapshots from the stream", err))
	}
	c.untidy = err != nil
}

// trim removes the surplus of this moment; more says that there is more of it.
func (c *consumption) trim(ctx context.Context) (more bool, err error) {
	stream, b, err := c.fill(ctx)
	if err != nil {
		return false, err
	}
	if !stream.CachedInfo().Created.Equal(c.created) {
		return false, errors.New("the stream was made anew")
	}
	keep := keepUsual
	if b.NearlyFull() {
		keep = keepHigh
	}
	surplus := c.ledger.surplus(keep, removeMax)
	g := errgroup.Group{}
	g.SetLimit(removesAtOnce)
	removed := make([]bool, len(surplus))
	for i, e := range surplus {
		g.Go(func() error {
			// One by one and not all below a sequence: a message that came before may not be taken yet, as after the death of
			// an archiver that had it in hand.
			err := c.removeMessage(ctx, stream, e.seq)
			removed[i] = err == nil
			return err
		})
	}
	err = g.Wait()
	for i, e := range surplus {
		if removed[i] {
			c.ledger.remove(e)
		}
	}
	for i, e := range surplus {
		if removed[i] && e.object != "" && !c.ledger.names(e.subject, e.object) {
			err = errors.Join(err, c.removeObject(ctx, e.object))
		}
	}
	return len(surplus) == removeMax, err
}

// removeMessage removes a message; one that is gone is no error.
func (c *consumption) removeMessage(ctx context.Context, stream jetstream.Stream, seq uint64) error {
	return natsio.Do(ctx, RemoveTimeout, "remove message", func(ctx context.Context) error {
		err := stream.DeleteMsg(ctx, seq)
		if err == nil {
			return nil
		}
		// The server's answer for one that is gone differs between a single server and a cluster.
		if _, look := stream.GetMsg(ctx, seq); errors.Is(look, jetstream.ErrMsgNotFound) {
			return nil
		}
		return err
	})
}

func (c *consumption) removeObject(ctx context.Context, name string) error {
	return natsio.Do(ctx, RemoveTimeout, "remove large snapshot", func(ctx context.Context) error {
		if err := c.large.Delete(ctx, name); !errors.Is(err, jetstream.ErrObjectNotFound) {
			return err
		}
		return nil
	})
}

var errScanned = errors.New("all read")

// readTaken fills the ledger with what stands on the stream and was acknowledged: all up to floor.
func (c *consumption) readTaken(ctx context.Context, floor uint64) error {
	if floor == 0 {
		return nil
	}
	return c.scan(ctx,
		natsio.Reader{Stream: SnapshotStream, Subjects: []string{createPrefix + ">"}, HeadersOnly: true, OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			if meta.Sequence.Stream > floor {
				return errScanned
			}
			c.ledger.add(entry{m.Subject(), meta.Sequence.Stream, ""})
			return nil
		}},
		natsio.Reader{Stream: SnapshotStream, Subjects: []string{largePrefix + ">"}, OnMessage: func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			if meta.Sequence.Stream > floor {
				return errScanned
			}
			c.ledger.add(entry{m.Subject(), meta.Sequence.Stream, objectNamed(m.Data())})
			return nil
		}})
}

// readHeld adds to the ledger what a forerunner took while it had older messages in hand, once these have been taken too.
func (c *consumption) readHeld(ctx context.Context) error {
	if c.held == 0 {
		return nil
	}
	info, found, err := c.place(ctx, SnapshotStream)
	if err != nil || !found || info.AckFloor.Stream < c.held {
		return err
	}
	if err := c.readTaken(ctx, info.AckFloor.Stream); err != nil {
		return err
	}
	c.held = 0
	return nil
}

// objectNamed is the object that a message names; of one that nobody can read none, whose object sweep finds.
func objectNamed(data []byte) string {
	snap, err := backup.DecodeSnapshot(data)
	if err != nil {
		return ""
	}
	return snap.Object
}

// scan runs readers one after the other to their ends, or until they say errScanned.
func (c *consumption) scan(ctx context.Context, readers ...natsio.Reader) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ScanTimeout, fmt.Errorf("stream not read within %s", ScanTimeout))
	defer cancel()
	for _, r := range readers {
		r.OnCaughtUp = func() error { return errScanned }
		switch err := c.conn.Read(ctx, r); {
		case errors.Is(err, errScanned):
		case err != nil:
			return err
		default:
			return context.Cause(ctx)
		}
	}
	return nil
}

// sweep removes objects that no message names: those of workers and archivers that died between object and message. What
// is younger than orphanAge is left alone.
func (c *consumption) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, ScanTimeout, fmt.Errorf("object store not read within %s", ScanTimeout))
	defer cancel()
	objects, err := c.large.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil
	}
	if err != nil {
		return cause(ctx, err)
	}
	orphans := map[string]bool{}
	for _, o := range objects {
		if time.Since(o.ModTime) >= c.orphan {
			orphans[o.Name] = true
		}
	}
	if len(orphans) == 0 {
		return nil
	}
	err = c.scan(ctx, natsio.Reader{Stream: SnapshotStream, Subjects: []string{largePrefix + ">"}, OnMessage: func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		delete(orphans, objectNamed(m.Data()))
		return nil
	}})
	if err != nil {
		return err
	}
	for name := range orphans {
		if err := c.removeObject(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
