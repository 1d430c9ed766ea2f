package embedded

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lineMax  = 4 << 10 // bytes; a longer line of the child's output reaches the log in pieces
	linesMax = 4       // kept of its warnings, to tell why it ended
)

// child is a running redis-server. One goroutine owns it from start to end.
type child struct {
	pid     int
	process *os.Process
	ended   chan struct{} // closed when the process has been waited for
	waitErr error         // how it ended; valid after ended

	// leaving is set before we end the child ourselves: what follows is no surprise.
	leaving atomic.Bool

	mu   sync.Mutex
	last []string // the last lines at level warning
}

// startChild runs program with settings on its standard input.
func startChild(program, settings string, log *slog.Logger) (*child, error) {
	cmd := exec.Command(program, "-")
	cmd.Stdin = strings.NewReader(settings)
	cmd.Env = []string{} // it needs none of ours, which may hold secrets
	cmd.SysProcAttr = childAttributes()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("open pipe: %w", err)
	}
	cmd.Stderr = cmd.Stdout
	c := &child{ended: make(chan struct{})}
	started := make(chan error, 1)
	go c.own(cmd, out, log, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// own starts the process and stays with it to its end. It keeps its thread for as long, because Linux sends the signal
// for a dead parent when the thread that started the child ends, not when the process does.
func (c *child) own(cmd *exec.Cmd, out io.Reader, log *slog.Logger, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.ended)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.process, c.pid = cmd.Process, cmd.Process.Pid
	started <- nil
	c.read(out, log.With("pid", c.pid))
	c.waitErr = cmd.Wait()
}

// read passes the child's lines to the log until it closes its output, which it does by ending. An ordinary start has
// warnings too, so none is louder than debug here: those before an early end are told with it.
func (c *child) read(out io.Reader, log *slog.Logger) {
	lines := bufio.NewReaderSize(out, lineMax)
	for {
		b, _, err := lines.ReadLine()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				log.Warn("read output of redis-server", "err", err)
			}
			return
		}
		if bytes.HasPrefix(b, []byte(">>>")) {
			continue // it complains about a line of the settings and repeats it, and one of them is the token
		}
		warning, text := parseLine(string(b))
		log.Debug("redis-server", "line", text)
		if warning {
			c.keep(text)
		}
	}
}

func (c *child) keep(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = append(c.last, line)
	c.last = c.last[max(0, len(c.last)-linesMax):]
}

// parseLine takes "pid:role day month year time level text" apart; level # is warning. Any other line (one about the
// settings comes without this head) counts as a warning and is left whole.
func parseLine(line string) (warning bool, text string) {
	f := strings.SplitN(line, " ", 7)
	if len(f) == 7 && len(f[5]) == 1 && strings.Contains(f[0], ":") {
		return f[5] == "#", f[6]
	}
	return strings.TrimSpace(line) != "", line
}

func (c *child) lastLines() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.last, "; ")
}

// stop asks the child to end and kills it after grace.
func (c *child) stop(grace time.Duration) error {
	c.leaving.Store(true)
	select {
	case <-c.ended:
		return fmt.Errorf("it had ended by itself: %s", c.lastLines())
	default:
	}
	if err := c.process.Signal(stopSignal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", c.pid, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-timer.C:
	}
	if err := c.kill(); err != nil {
		return err
	}
	return fmt.Errorf("process %d did not end within the stop grace of %s and was killed", c.pid, grace)
}

// abandon ends a child that never answered and returns what it said last.
func (c *child) abandon() string {
	c.leaving.Store(true)
	if err := c.kill(); err != nil {
		return err.Error()
	}
	return c.lastLines()
}

// kill waits for the end without a deadline of its own: a killed process ends.
func (c *child) kill() error {
	if err := c.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", c.pid, err)
	}
	<-c.ended
	return nil
}
