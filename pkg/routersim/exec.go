package routersim

import (
	"io"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	writeSize    = 32 << 10 // of one write, so that the session log follows
	slowSize     = 256      // of one write of a slow router
	slowInterval = 100 * time.Millisecond
)

// session serves one SSH session: an exec or SFTP.
func (r *Router) session(c ssh.NewChannel, s *Session) {
	if !r.now().may(PolicySSH) {
		_ = c.Reject(ssh.Prohibited, "not allowed") // fails only when the client has gone
		return
	}
	ch, requests, err := c.Accept()
	if err != nil {
		return // the client has gone
	}
	defer func() { _ = ch.Close() }()
	for req := range requests {
		serve := r.requested(req, ch, s)
		if err := req.Reply(serve != nil, nil); err != nil {
			return
		}
		if serve == nil {
			continue
		}
		gone := make(chan struct{}) // closed when the client has closed the channel
		go func() {
			defer close(gone)
			ssh.DiscardRequests(requests)
		}()
		if serve(gone) == nil {
			_, _ = ch.SendRequest("exit-status", false, make([]byte, 4)) // 0 also where the command failed
		}
		_ = ch.Close()
		<-gone
		return
	}
}

// requested is what serves the request, or nil where it is refused. Its error means that the client has gone or the fleet
// is closing.
func (r *Router) requested(req *ssh.Request, ch ssh.Channel, s *Session) func(gone <-chan struct{}) error {
	var p struct{ Text string }
	switch {
	case ssh.Unmarshal(req.Payload, &p) != nil:
	case req.Type == "exec":
		return func(gone <-chan struct{}) error {
			r.fleet.log.update(func() { s.Command = p.Text })
			h := r.now()
			a := answer{router: r, session: s, out: ch, gone: gone, habits: h, window: h.windowCut}
			return a.run(p.Text)
		}
	case req.Type == "subsystem" && p.Text == "sftp" && r.now().may(PolicyFTP):
		return func(<-chan struct{}) error { return r.sftp(ch, s) }
	}
	return nil
}

// answer is the output of one exec line.
type answer struct {
	habits
	router  *Router
	session *Session
	out     io.Writer
	gone    <-chan struct{}
	window  int // bytes that it still takes, with a window cut
}

// run prints what the line asks for. Its error means that the client has gone or the fleet is closing.
func (a *answer) run(line string) error {
	if err := a.pause(a.delay); err != nil {
		return err
	}
	if _, err := a.write(a.banner); err != nil {
		return err
	}
	commands, problem := parse(line, grammar{v6: a.router.profile.v6(), markerRefused: a.markerRefused})
	if problem != "" {
		_, err := a.write(problem + lineEnd)
		return err
	}
	for _, c := range commands {
		goOn, err := a.command(c)
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

// command runs one command; an error that it prints ends the line, as it ends a script.
func (a *answer) command(c command) (goOn bool, err error) {
	if reads := !c.put || c.getID || c.sizeOf != ""; reads && !a.may(PolicyRead) || c.file != "" && !a.may(PolicyWrite) {
		_, err = a.write(permissionLine)
		return false, err
	}
	switch {
	case c.getID:
		_, err = a.write(a.router.Identity() + lineEnd)
	case c.sizeOf != "":
		size, ok := a.router.flash.size(c.sizeOf, time.Now())
		if !ok {
			_, err = a.write("no such item" + lineEnd)
			return false, err
		}
		_, err = a.write(strconv.Itoa(size) + lineEnd)
	case c.put:
		_, err = a.write(c.text + lineEnd)
	default:
		return a.export(c)
	}
	return true, err
}

func (a *answer) export(c command) (goOn bool, err error) {
	now := time.Now()
	whole := a.router.print(view{show: c.show && a.may(PolicySensitive), width: a.width}, a.flicker, now.UTC())
	text, goOn := spoil(whole, a.fault)
	if c.file != "" && a.fault != ErrorText {
		a.router.flash.put(c.file+".rsc", filed(whole, a.fault), now, a.fileDelay, a.flash)
		return true, nil
	}
	size, interval := writeSize, time.Duration(0)
	if a.fault == Slow {
		size, interval = slowSize, slowInterval
	}
	for len(text) > 0 {
		n := min(size, len(text))
		sent, err := a.write(text[:n])
		if err != nil {
			return false, err
		}
		a.router.fleet.log.update(func() { a.session.Bytes += int64(sent) })
		text = text[n:]
		if err := a.pause(interval); err != nil {
			return false, err
		}
	}
	if a.fault == StallMidExport {
		<-a.gone
		return false, io.ErrClosedPipe
	}
	return goOn, nil
}

// write sends text, or what of it the window takes: the rest is lost and nothing says so.
func (a *answer) write(text string) (sent int, err error) {
	if a.windowCut > 0 {
		text = text[:min(len(text), a.window)]
		a.window -= len(text)
	}
	if text == "" {
		return 0, nil
	}
	return io.WriteString(a.out, text)
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
