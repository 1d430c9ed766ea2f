// Package natsio owns the process's one NATS connection: it connects, stays connected, repeats what nobody answered, and
// reads streams in order across restarts of the server. It alone exports nats types, to stream, state and wiring.
package natsio

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/transport"
)

const (
	// ConnectTimeout bounds Connect without Wait, and each dial and handshake of a reconnect.
	ConnectTimeout = 5 * time.Second
	// ReconnectDelay is the wait between two tries to reach the server.
	ReconnectDelay = time.Second
	// DrainTimeout bounds Close.
	DrainTimeout = 5 * time.Second
	// A server that answers no ping for pingInterval*pingsMax is gone: nats.go's own 4 minutes are too long for a fleet to stand still.
	pingInterval = 20 * time.Second
	pingsMax     = 2
)

// Options say where and how to connect.
type Options struct {
	// URL is one address or several with commas between them. It may carry a token, user:password, or the user alone whose
	// password stands in PasswordFile.
	URL  secret.URL
	Name string // of this process, as the server's monitoring shows it
	// PasswordFile, CredsFile and NkeyFile are ways to log in, one of which may be set. They and the files of TLS are read for
	// each connection: what was replaced in them holds from the next one on. Only another nkey needs another process.
	PasswordFile, CredsFile, NkeyFile string
	TLS                               transport.TLS // for addresses that begin with tls or wss
	// APIPrefix is where JetStream is reached from an account of its own, instead of $JS.API.
	APIPrefix string
	// Wait makes Connect wait for a server that is not there yet, for as long as its context lasts.
	Wait bool
	// OnChange hears of every change, one call at a time: up, or down with the reason, once for each outage and also for a
	// server that Wait does not find at first. Up with an error is something the server refused on a standing connection,
	// such as a permission. It must not block. It may be nil.
	OnChange func(up bool, err error)
}

// Conn is a connection that comes back by itself for as long as it is not closed. It is safe for concurrent use.
type Conn struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	unread atomic.Pointer[error] // why a file could not be read for the last login

	telling              sync.Mutex // held while notify is called
	notify               func(up bool, err error)
	toldOff, toldRefusal bool // of the present outage, and of a refusal in it

	opened  chan struct{} // closed when first connected
	once    sync.Once
	closed  chan struct{} // closed when nats.go makes no more callbacks
	closing atomic.Bool

	watching sync.WaitGroup

	mu         sync.Mutex
	session    context.Context // ends when a new connection replaces the one it stands for
	endSession context.CancelFunc
}

// Connect connects. Without Wait it fails within ConnectTimeout; with it, only when ctx ends. The error is a
// fault.Infrastructure that names the URL without its secrets.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	if !readable(o.URL.Reveal()) {
		return nil, fault.New(fault.Infrastructure, "connect to NATS", "the address is not a URL: write nats://host:4222")
	}
	first := ctx
	if !o.Wait {
		var cancel context.CancelFunc
		first, cancel = context.WithTimeoutCause(ctx, ConnectTimeout, errors.New("not connected within "+ConnectTimeout.String()))
		defer cancel()
	}
	c := &Conn{notify: o.OnChange, opened: make(chan struct{}), closed: make(chan struct{})}
	login, err := c.login(o)
	if err != nil {
		return nil, fault.New(fault.Infrastructure, "connect to NATS", "%w", err)
	}
	c.session, c.endSession = context.WithCancel(context.Background())
	d := &dialer{ctx: first}
	nc, err := nats.Connect(login.addresses, append(c.options(o, d), login.options...)...)
	if err != nil {
		if cause := context.Cause(first); cause != nil {
			err = cause
		}
		return nil, fault.New(fault.Infrastructure, "connect to NATS", "%s: %w", redacted(o.URL), c.explain(err))
	}
	c.nc = nc
	c.watching.Go(func() { c.watchRefusals(nc) })
	select {
	case <-c.opened:
	case <-first.Done():
		c.Close()
		return nil, fault.New(fault.Infrastructure, "connect to NATS", "%s: %w", redacted(o.URL), context.Cause(first))
	}
	d.release()
	if c.js, err = newJetStream(nc, o.APIPrefix); err != nil {
		c.Close()
		return nil, fault.New(fault.Internal, "connect to NATS", "%w", err)
	}
	return c, nil
}

func newJetStream(nc *nats.Conn, prefix string) (jetstream.JetStream, error) {
	if prefix == "" {
		return jetstream.New(nc)
	}
	return jetstream.NewWithAPIPrefix(nc, prefix)
}

// readable is checked first because the parse error of nats.go quotes the whole address.
func readable(addresses string) bool {
	for address := range strings.SplitSeq(addresses, ",") {
		address = strings.TrimSpace(address)
		if !strings.Contains(address, "://") {
			address = "nats://" + address
		}
		if u, err := url.Parse(address); err != nil || u.Host == "" {
			return false
		}
	}
	return true
}

// redacted takes the secrets out of each address; a secret.URL knows only one.
func redacted(u secret.URL) string {
	var out []string
	for address := range strings.SplitSeq(u.Reveal(), ",") {
		out = append(out, secret.NewURL(strings.TrimSpace(address)).String())
	}
	return strings.Join(out, ",")
}

func (c *Conn) options(o Options, d *dialer) []nats.Option {
	return []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(ConnectTimeout),
		nats.SetCustomDialer(d),
		nats.RetryOnFailedConnect(o.Wait),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(ReconnectDelay),
		// What was asked during an outage fails and is asked again by whoever still wants it; nothing is sent after its
		// sender has given up.
		nats.ReconnectBufSize(-1),
		// A password that is being changed must not end a process for good.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsMax),
		nats.DrainTimeout(DrainTimeout),
		nats.ConnectHandler(func(*nats.Conn) { c.up() }),
		nats.ReconnectHandler(func(*nats.Conn) { c.up() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.down(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.down(err) }),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) { c.complain(nc, err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}
}

func (c *Conn) up() {
	c.mu.Lock()
	c.endSession()
	c.session, c.endSession = context.WithCancel(context.Background())
	c.mu.Unlock()
	c.once.Do(func() { close(c.opened) })
	c.telling.Lock()
	defer c.telling.Unlock()
	c.toldOff, c.toldRefusal = false, false
	c.tell(true, nil)
}

// down tells once of an outage, and once of a refusal: a server that comes back may have learned to refuse meanwhile.
func (c *Conn) down(err error) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.tellDown(err)
}

func (c *Conn) tellDown(err error) {
	if err == nil {
		err = errors.New("the server ended the connection")
	}
	err = c.explain(err)
	refused := transport.Refused(err)
	if c.toldOff && (!refused || c.toldRefusal) {
		return
	}
	c.toldOff, c.toldRefusal = true, c.toldRefusal || refused
	c.tell(false, err)
}

// complain tells what the server has against a standing connection, or why there is none.
func (c *Conn) complain(nc *nats.Conn, err error) {
	c.telling.Lock()
	defer c.telling.Unlock()
	if nc.IsConnected() {
		c.tell(true, err)
	} else {
		c.tellDown(err)
	}
}

// watchRefusals tells why a server that was reached again has no connection with us: of a TLS handshake that fails nats.go
// calls nobody. It ends with the connection.
func (c *Conn) watchRefusals(nc *nats.Conn) {
	tick := time.NewTicker(ReconnectDelay)
	defer tick.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-tick.C:
		}
		c.telling.Lock()
		if err := nc.LastError(); err != nil && !nc.IsConnected() && transport.Refused(c.explain(err)) {
			c.tellDown(err)
		}
		c.telling.Unlock()
	}
}

// tell is called with the lock held: up has it, too, so that nothing is told of an outage after its end.
func (c *Conn) tell(up bool, err error) {
	if c.notify != nil && !c.closing.Load() {
		c.notify(up, err)
	}
}

// sessionContext ends when the connection of this moment has been replaced by a new one.
func (c *Conn) sessionContext() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// JetStream gives the connection's one JetStream context.
func (c *Conn) JetStream() jetstream.JetStream { return c.js }

// Connected says whether there is a connection at this moment.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// MaxPayload is how many bytes of headers and data the server takes in one message.
func (c *Conn) MaxPayload() int64 { return c.nc.MaxPayload() }

// Close sends what is under way, for DrainTimeout at most, and closes. OnChange hears nothing of it, and nothing after it.
func (c *Conn) Close() {
	c.closing.Store(true)
	if c.nc.Drain() == nil { // it refuses where there is no connection to drain
		t := time.NewTimer(DrainTimeout)
		defer t.Stop()
		select {
		case <-c.closed:
		case <-t.C:
		}
	}
	c.nc.Close()
	<-c.closed
	c.watching.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endSession()
}
