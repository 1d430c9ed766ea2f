package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/confhaul/confhaul/pkg/secret"
)

// MaxPayloadDefault is the largest message in bytes. From here up the server advises against it.
const MaxPayloadDefault = 8 << 20

const (
	// Streams reserve their byte limits here whether or not they use them, and a refused reservation is a stream that
	// does not exist. What bounds the disk is the limit of each stream, so this one is out of reach.
	storeMax = 1 << 50

	natsStartTimeout = 5 * time.Minute // recovery of everything stored included
	natsReadyTimeout = 10 * time.Second
	natsStopTimeout  = 30 * time.Second
)

// NATSOptions says how to start a NATS server.
type NATSOptions struct {
	Dir        string       // of the file store, made where it is missing
	Token      secret.Text  // what it demands of clients; needed
	Port       int          // 0: a free one
	MaxPayload int32        // bytes; 0: MaxPayloadDefault
	Log        *slog.Logger // gets warnings and errors; nil: no log
}

// NATS is a NATS server in this process with JetStream on a file store that is synced at every write. Its directory can
// be taken over as it is by a plain nats-server -js -sd DIR.
type NATS struct {
	server *server.Server
	url    secret.URL

	stopOnce sync.Once
	stopErr  error
}

// StartNATS starts the server and returns once it takes connections, after the recovery of what its directory holds.
// Cancelling ctx ends the start, not the server: Stop does.
func StartNATS(ctx context.Context, o NATSOptions) (*NATS, error) {
	if o.Token.Empty() {
		return nil, fmt.Errorf("start nats: %w", errNoToken)
	}
	dir, err := makeDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	s, err := server.NewServer(natsOptions(o, dir))
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	log := &natsLog{log: orDiscard(o.Log), fatal: make(chan string, 1)}
	s.SetLoggerV2(log, false, false, false)
	n := &NATS{server: s}
	if err := n.start(ctx, log.fatal); err != nil {
		return nil, fmt.Errorf("start nats in %s: %w", dir, errors.Join(err, n.Stop()))
	}
	u := url.URL{Scheme: "nats", User: url.User(o.Token.Reveal()), Host: s.Addr().String()}
	n.url = secret.NewURL(u.String())
	return n, nil
}

func natsOptions(o NATSOptions, dir string) *server.Options {
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	payload := o.MaxPayload
	if payload == 0 {
		payload = MaxPayloadDefault
	}
	return &server.Options{
		Host: loopback, Port: port, Authorization: o.Token.Reveal(), MaxPayload: payload,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: storeMax, SyncAlways: true,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
	}
}

// start runs the server's own start, which blocks until everything stored is recovered.
func (n *NATS) start(ctx context.Context, fatal <-chan string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, natsStartTimeout,
		fmt.Errorf("not started within the start timeout of %s", natsStartTimeout))
	defer cancel()
	started := make(chan struct{})
	go func() {
		defer close(started)
		n.server.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		n.server.Shutdown() // which makes Start return
		<-started
		return context.Cause(ctx)
	}
	select {
	case text := <-fatal:
		return errors.New(text)
	default:
	}
	if !n.server.ReadyForConnections(natsReadyTimeout) {
		return fmt.Errorf("it takes no connections within the ready timeout of %s", natsReadyTimeout)
	}
	return nil
}

// URL is the address, nats://token@127.0.0.1:port.
func (n *NATS) URL() secret.URL { return n.url }

// Stop closes all connections and the store and waits for the end of the server, 30 s at most. Further calls return what
// the first did.
func (n *NATS) Stop() error {
	n.stopOnce.Do(func() {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			n.server.Shutdown()
			n.server.WaitForShutdown()
		}()
		timer := time.NewTimer(natsStopTimeout)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
			n.stopErr = fmt.Errorf("stop nats: it did not end within the stop timeout of %s", natsStopTimeout)
		}
	})
	return n.stopErr
}

// natsLog passes the server's warnings and errors on. A fatal one does not end the process: StartNATS returns the first.
type natsLog struct {
	log   *slog.Logger
	fatal chan string
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}

func (l *natsLog) Warnf(format string, v ...any) {
	l.log.Warn("nats", "line", fmt.Sprintf(format, v...))
}

func (l *natsLog) Errorf(format string, v ...any) {
	l.log.Error("nats", "line", fmt.Sprintf(format, v...))
}

func (l *natsLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("nats", "line", text)
	select {
	case l.fatal <- text:
	default: // the first is the cause
	}
}
