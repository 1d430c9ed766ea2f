package scheduler

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/confhaul/confhaul/pkg/secret"
)

// proxy stands between a client and its Redis: it can cut, hang, and count commands.
type proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	commands map[string]int // by lower-case name
	conns    map[net.Conn]struct{}
	refuse   bool
	passing  chan struct{} // closed while bytes pass
}

// newProxy leads the schedulers that come after it through a proxy.
func newProxy(h *house) *proxy {
	t := h.t
	t.Helper()
	u, err := url.Parse(h.url.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: u.Host, listener: l, commands: map[string]int{}, conns: map[net.Conn]struct{}{}, passing: make(chan struct{})}
	close(p.passing)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	u.Host = l.Addr().String()
	h.via = secret.NewURL(u.String())
	return p
}

// cut ends all connections and takes no new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.pass()
}

// hang lets nothing through and ends nothing.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.passing:
		p.passing = make(chan struct{})
	default: // it hangs already
	}
}

// heal ends a cut or a hang.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = false
	p.pass()
}

func (p *proxy) pass() {
	select {
	case <-p.passing:
	default:
		close(p.passing)
	}
}

func (p *proxy) awaitPassing() {
	p.mu.Lock()
	passing := p.passing
	p.mu.Unlock()
	<-passing
}

// counted is how often a command passed; "" stands for all of them.
func (p *proxy) counted(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name != "" {
		return p.commands[name]
	}
	sum := 0
	for _, n := range p.commands {
		sum += n
	}
	return sum
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || !p.keep(client, server) {
			_ = client.Close()
			continue
		}
		p.wg.Go(func() { p.forward(client, server, p.command) })
		p.wg.Go(func() { p.forward(server, client, anyBytes) })
	}
}

func (p *proxy) keep(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		_ = server.Close()
		return false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	return true
}

// forward moves what read gives from one side to the other until one of them ends, and then ends both.
func (p *proxy) forward(from, to net.Conn, read func(*bufio.Reader) ([]byte, error)) {
	r := bufio.NewReader(from)
	for {
		b, err := read(r)
		p.awaitPassing()
		if err == nil {
			_, err = to.Write(b)
		}
		if err != nil {
			break
		}
	}
	_, _ = from.Close(), to.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
}

func anyBytes(r *bufio.Reader) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	b := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, b)
	return b, err
}

// command reads one command in the form of clients, *N and N times $length, and counts it.
func (p *proxy) command(r *bufio.Reader) ([]byte, error) {
	var raw bytes.Buffer
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	raw.WriteString(head)
	var parts, size int
	if _, err := fmt.Sscanf(head, "*%d\r\n", &parts); err != nil {
		return nil, fmt.Errorf("read %q: %w", head, err)
	}
	name := ""
	for i := range parts {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Sscanf(line, "$%d\r\n", &size); err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
		raw.WriteString(line)
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		raw.Write(b)
		if i == 0 {
			name = strings.ToLower(string(b[:size]))
		}
	}
	p.mu.Lock()
	p.commands[name]++
	p.mu.Unlock()
	return raw.Bytes(), nil
}
