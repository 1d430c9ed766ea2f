package routersim

import (
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	writeSize    = 32 << 10 // of one write, so that the session log follows
	slowSize     = 256      // of one write of a slow router
	slowInterval = 100 * time.Millisecond
)

// channel serves one SSH channel. Channels are served one after another, as no client needs two exports at once.
func (r *Router) channel(c ssh.NewChannel, s *Session) {
	if c.ChannelType() != "session" {
		_ = c.Reject(ssh.UnknownChannelType, "only sessions") // fails only when the client has gone
		return
	}
	ch, requests, err := c.Accept()
	if err != nil {
		return // the client has gone
	}
	defer func() { _ = ch.Close() }()
	for req := range requests {
		var exec struct{ Command string }
		ok := req.Type == "exec" && ssh.Unmarshal(req.Payload, &exec) == nil
		if err := req.Reply(ok, nil); err != nil {
			return
		}
		if !ok {
			continue
		}
		r.fleet.log.update(func() { s.Command = exec.Command })
		gone := make(chan struct{}) // closed when the client has closed the channel
		go func() {
			defer close(gone)
			ssh.DiscardRequests(requests)
		}()
		a := answer{router: r, session: s, out: ch, gone: gone}
		if a.run(exec.Command) == nil {
			_, _ = ch.SendRequest("exit-status", false, make([]byte, 4)) // 0 also where the command failed
		}
		_ = ch.Close()
		<-gone
		return
	}
}

// answer is the output of one exec line.
type answer struct {
	router  *Router
	session *Session
	out     io.Writer
	gone    <-chan struct{}
}

// run prints what the line asks for. Its error means that the client has gone or the fleet is closing.
func (a *answer) run(line string) error {
	r := a.router
	r.mu.Lock()
	delay, fault := r.delay, r.fault
	r.mu.Unlock()
	if err := a.pause(delay); err != nil {
		return err
	}
	commands, problem := parse(line, r.profile.v6())
	if problem != "" {
		return a.write(problem + lineEnd)
	}
	for _, c := range commands {
		goOn, err := a.command(c, fault)
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

func (a *answer) command(c command, fault Fault) (goOn bool, err error) {
	switch {
	case c.getID:
		return true, a.write(a.router.Identity() + lineEnd)
	case c.put:
		return true, a.write(c.text + lineEnd)
	}
	text, goOn := spoil(a.router.print(c.show, time.Now().UTC()), fault)
	size, interval := writeSize, time.Duration(0)
	if fault == Slow {
		size, interval = slowSize, slowInterval
	}
	for len(text) > 0 {
		n := min(size, len(text))
		if err := a.write(text[:n]); err != nil {
			return false, err
		}
		a.router.fleet.log.update(func() { a.session.Bytes += int64(n) })
		text = text[n:]
		if err := a.pause(interval); err != nil {
			return false, err
		}
	}
	if fault == StallMidExport {
		<-a.gone
		return false, io.ErrClosedPipe
	}
	return goOn, nil
}

func (a *answer) write(text string) error {
	_, err := io.WriteString(a.out, text)
	return err
}

// pause waits for d, or fails once the client has gone or the fleet closes, which closes the connection.
func (a *answer) pause(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-a.gone:
		return io.ErrClosedPipe
	}
}
