package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// paged gives fn a writer to a pager where standard output is a terminal, and to standard output elsewhere. The pager is
// $PAGER, less where that is not set, or none where there is no less. One that is left early is no error.
func (e *env) paged(ctx context.Context, fn func(w io.Writer) error) error {
	command := e.pager()
	if !e.outTerminal || command == "" {
		w := bufio.NewWriter(e.out)
		return errors.Join(fn(w), w.Flush())
	}
	// It ends when its user leaves it, and not with ctx: an interrupt is the pager's own.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = e.out, e.err
	cmd.Env = os.Environ()
	if e.getenv("LESS") == "" {
		cmd.Env = append(cmd.Env, "LESS=FRX") // ends at once where all fits the screen, shows colours, leaves the text standing
	}
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start pager %s: %w (PAGER=cat goes without)", command, err)
	}
	w := bufio.NewWriter(pipe)
	err = errors.Join(fn(w), w.Flush(), pipe.Close())
	if errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	if ended := cmd.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("pager %s: %w (PAGER=cat goes without)", command, ended)
	}
	return err
}

func (e *env) pager() string {
	if p := strings.TrimSpace(e.getenv("PAGER")); p == "cat" {
		return ""
	} else if p != "" {
		return p
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less -R"
}
