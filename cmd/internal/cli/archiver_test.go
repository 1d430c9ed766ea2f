package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/natsio"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/stream"
)

// shelf is a Redis, a NATS and the place of an archive, for archiver processes.
type shelf struct {
	*testing.T
	vars   []string
	nats   string
	redis  string
	dir    string
	stream *stream.Stream
}

func newShelf(t *testing.T, snapshotBytes int64) *shelf {
	t.Helper()
	s := &shelf{
		T: t, redis: embeddedtest.Redis(t).Reveal(), nats: embeddedtest.NATS(t, embedded.NATSOptions{}).URL().Reveal(),
		dir: filepath.Join(t.TempDir(), "archive"),
	}
	s.vars = []string{"CONFHAUL_REDIS=" + s.redis, "CONFHAUL_NATS=" + s.nats, "CONFHAUL_STREAM_SNAPSHOT_BYTES=" + fmt.Sprint(snapshotBytes)}
	conn, err := natsio.Connect(t.Context(), natsio.Options{URL: secret.NewURL(s.nats), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if s.stream, err = stream.Open(t.Context(), conn, stream.Options{SnapshotBytes: snapshotBytes, EventBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shelf) start() *process {
	return startProcess(s.T, append([]string{"CONFHAUL_ARCHIVE_DIR=" + s.dir}, s.vars...), "archiver", "--listen", "127.0.0.1:0")
}

// versions counts those in the archive.
func (s *shelf) versions() int {
	s.Helper()
	r, err := archive.OpenSQLiteReader(s.Context(), s.dir)
	if errors.Is(err, archive.ErrNone) {
		return 0
	}
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	stats, err := r.Stats(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return stats.Versions
}

func archivable(id, text string, n int) backup.Snapshot {
	sum := sha256.Sum256([]byte(text))
	return backup.Snapshot{
		V: backup.EventVersion, DeviceID: id, Site: "default", TenantID: "default", Normalization: 1, Complete: true, Proof: "marker",
		ConfigText: text, SHA256Hash: hex.EncodeToString(sum[:]), CollectedAt: time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC),
	}
}

// TestArchiverKilled kills archivers with kill -9 while they work. At the end every snapshot is there once, in its order,
// and the stream keeps the newest three of each device.
func TestArchiverKilled(t *testing.T) {
	t.Parallel()
	const devices, each, kills = 20, 40, 4
	s := newShelf(t, 256<<20)
	published := make(chan error, 1)
	go func() {
		last := map[string]uint64{}
		for n := range each {
			for d := range devices {
				id := fmt.Sprint("r", d)
				text := fmt.Sprintf("/system identity\nset name=%s\n# state %d\n", id, n%(each/2)) // half of it a second time: A -> B -> A
				var err error
				if last[id], err = s.stream.PublishSnapshot(t.Context(), archivable(id, text, n), []byte("# head\r\n"+text), last[id]); err != nil {
					published <- err
					return
				}
			}
		}
		published <- nil
	}()
	for range kills {
		p, before := s.start(), s.versions()
		eventually(t, "the archiver to be at work", func() bool { return s.versions() > before })
		p.kill()
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	p := s.start()
	eventually(t, "everything to be taken", func() bool {
		b, err := s.stream.Backlog(t.Context())
		return err == nil && b.Pending == 0
	})
	eventually(t, "the stream to be trimmed", func() bool {
		c, err := s.stream.Counts(t.Context())
		return err == nil && c.Snapshots == 3*devices
	})
	if code := p.stop(t); code != 0 {
		t.Errorf("the archiver ends with %d on SIGTERM", code)
	}
	r, err := archive.OpenSQLiteReader(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for d := range devices {
		n, id := 0, fmt.Sprint("r", d)
		err := r.History(t.Context(), id, func(v archive.Version, text []byte) error {
			if want := fmt.Sprintf("/system identity\nset name=%s\n# state %d\n", id, n%(each/2)); string(text) != want || v.Number != n+1 {
				t.Errorf("%s @%d is %q, want %q", id, v.Number, text, want)
			}
			n++
			return nil
		})
		if err != nil || n != each {
			t.Errorf("%s has %d versions, want %d: %v", id, n, each, err)
		}
	}
	v, err := r.Verify(t.Context(), func(d archive.Damage) error { t.Errorf("damaged: %+v", d); return nil })
	if err != nil || v.Versions != devices*each {
		t.Errorf("verify: %+v, %v", v, err)
	}
	if q, err := r.Quarantined(t.Context()); err != nil || len(q) > 0 {
		t.Errorf("%d in quarantine: %v", len(q), err)
	}
}

// TestSecondArchiverWaits, says so, and takes over.
func TestSecondArchiverWaits(t *testing.T) {
	t.Parallel()
	s := newShelf(t, 16<<20)
	first := s.start()
	eventually(t, "the first", func() bool { return contains(first.errOut.String(), "archiver ready") })
	second := s.start()
	eventually(t, "the second to wait", func() bool { return contains(second.errOut.String(), "another archiver writes this archive") })
	last, err := s.stream.PublishSnapshot(t.Context(), archivable("r1", "a", 1), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first version", func() bool { return s.versions() == 1 })
	if contains(second.errOut.String(), "archiver ready") {
		t.Error("both work")
	}
	first.kill()
	if _, err := s.stream.PublishSnapshot(t.Context(), archivable("r1", "b", 2), nil, last); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second version", func() bool { return s.versions() == 2 })
	if code := second.stop(t); code != 0 {
		t.Errorf("exit %d on SIGTERM", code)
	}
	if o := runWith(t, map[string]string{"CONFHAUL_REDIS": s.redis, "CONFHAUL_NATS": s.nats}, "archiver"); o.code != exitUsage || !contains(o.errOut, "archive: {dir:") {
		t.Errorf("without a directory: exit %d: %s", o.code, o.errOut)
	}
}

// TestFullStream fills the stream up: it is told, the worker keeps the snapshot in hand, and goes on by itself when an
// archiver has made room.
func TestFullStream(t *testing.T) {
	t.Parallel()
	const room = 1 << 20
	s := newShelf(t, room)
	fleet, config := fleetFiles(t, routersim.Options{Devices: 1, Seed: 4}, askedOnly)
	s.fill()
	run := func(args ...string) outcome { // with the same size: a larger one makes the stream larger
		return runWith(t, map[string]string{"CONFHAUL_STREAM_SNAPSHOT_BYTES": fmt.Sprint(room)},
			append(args, "--config", config, "--redis", s.redis, "--nats", s.nats)...)
	}
	scheduler := startProcess(t, s.vars, "scheduler", "--config", config, "--listen", "127.0.0.1:0")
	worker := startProcess(t, s.vars, "worker", "--config", config, "--listen", "127.0.0.1:0")
	backedUp := make(chan outcome, 1)
	go func() { backedUp <- run("backup", "router-0001", "--wait", "-o", "json") }()
	eventually(t, "the worker to hold its snapshot", func() bool {
		return contains(worker.errOut.String(), "holding the snapshot") && contains(worker.errOut.String(), "is full")
	})
	eventually(t, "the scheduler's word", func() bool { return contains(scheduler.errOut.String(), "full and refuses new ones") })
	if o := run("status"); o.code != 0 || !contains(o.out, "% full and refuses") || !contains(o.out, "run an archiver") {
		t.Errorf("status, exit %d: %s", o.code, o.out)
	}
	s.start()
	if o := <-backedUp; o.code != 0 {
		t.Fatalf("exit %d: %s %s", o.code, o.out, o.errOut)
	}
	if n := len(fleet.Sessions()); n != 1 {
		t.Errorf("the router was asked %d times", n)
	}
	eventually(t, "the archive of both", func() bool {
		r, err := archive.OpenSQLiteReader(t.Context(), s.dir)
		if err != nil {
			return false
		}
		defer func() { _ = r.Close() }()
		v, err := r.Version(t.Context(), "router-0001", archive.Which{})
		return err == nil && v.Number == 1
	})
	eventually(t, "the all-clear", func() bool { return contains(scheduler.errOut.String(), "streams have room again") })
	if o := run("status"); o.code != 0 || contains(o.out, "full") {
		t.Errorf("status, exit %d: %s", o.code, o.out)
	}
}

// fill publishes snapshots of one device until the smallest is refused.
func (s *shelf) fill() {
	s.Helper()
	rnd, last, n := rand.New(rand.NewPCG(1, 0)), uint64(0), 0
	for _, size := range []int{32 << 10, 256} {
		for {
			b := make([]byte, size/2)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			seq, err := s.stream.PublishSnapshot(s.Context(), archivable("filler", hex.EncodeToString(b), n), nil, last)
			if err != nil {
				break
			}
			last, n = seq, n+1
		}
	}
}
