//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a program that is started, killed and started again. One goroutine at a time acts on it, but for end.
type process struct {
	role    Role
	index   int
	program string
	args    []string
	env     []string
	dir     string
	log     string           // file that its output is appended to
	died    func(why string) // hears of an end that nobody asked for; the process is then started again by the next look

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{}
	leaving bool // its end is our doing
	closed  bool // it is not to be started again
}

func (p *process) name() string {
	if p.role == Redis || p.role == NATS {
		return string(p.role)
	}
	return fmt.Sprintf("%s-%d", p.role, p.index+1)
}

// start starts the process, unless it runs or has been closed.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.cmd != nil {
		return nil
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the child has its own
	cmd := exec.Command(p.program, p.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, out, out
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name(), err)
	}
	p.cmd, p.leaving = cmd, false
	ended := make(chan struct{})
	p.ended = ended
	go func() { // ends with the process, which close waits for
		err := cmd.Wait()
		p.mu.Lock()
		asked := p.leaving
		p.cmd = nil
		p.mu.Unlock()
		if !asked {
			p.died(fmt.Sprintf("%s ended by itself: %v; see %s", p.name(), err, p.log))
		}
		close(ended)
	}()
	return nil
}

// signal sends a signal to the running process; ends says that it is meant to end it.
func (p *process) signal(s syscall.Signal, ends bool) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		ended := make(chan struct{})
		close(ended)
		return ended, nil
	}
	p.leaving = p.leaving || ends
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, fmt.Errorf("send %s to %s: %w", s, p.name(), err)
	}
	return p.ended, nil
}

// kill ends the process as a power cut does, and waits for that.
func (p *process) kill() error {
	ended, err := p.signal(syscall.SIGKILL, true)
	if err == nil {
		<-ended
	}
	return err
}

// terminate asks the process to end and kills it where it does not within patience; late says so.
func (p *process) terminate(ctx context.Context, patience time.Duration) (late bool, err error) {
	ended, err := p.signal(syscall.SIGTERM, true)
	if err != nil {
		return false, err
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-ended:
		return false, nil
	case <-ctx.Done():
	case <-t.C:
	}
	return ctx.Err() == nil, p.kill()
}

// close ends the process for good.
func (p *process) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.kill() // the signal fails only where there is nobody to hear it
}
