package collect

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

const (
	stepFile = "export file"

	// The file has one name, so that a leftover of an attempt that was killed is found and removed by the next one.
	fileName = "confhaul-export"
	file     = fileName + ".rsc"

	// The router goes on writing after the command has ended: the file is whole when its size stands still.
	fileLookDelay = time.Second
	fileTimeout   = 3 * time.Minute // from the command to the settled file
	answerMax     = 64 << 10        // bytes of the answer to a command that should print a line
)

// begun is how a normal form begins: its first n bytes and their digest.
type begun struct {
	n      int
	digest string
}

// fetchFile has the router write the export into a file, and fetches and removes that. The size that the router tells,
// twice the same, must be what was read: no end marker stands in a file.
func (a *attempt) fetchFile(ctx context.Context, conn *sshclient.Conn) (routeros.Verdict, error) {
	if err := a.remember(ctx); err != nil {
		return routeros.Verdict{}, err
	}
	if err := conn.RemoveFile(ctx, file); err != nil {
		return routeros.Verdict{}, err
	}
	a.export.FileLeft = true
	defer a.removeFile(ctx, conn)
	start, marker := time.Now(), newMarker()
	a.export.Started = start
	answer, err := a.ask(ctx, conn, routeros.FileCommand(a.want, fileName, marker))
	if err != nil {
		return routeros.Verdict{}, err
	}
	if kind, reason := routeros.Answered(answer, marker); kind != "" {
		return routeros.Verdict{}, fault.New(kind, stepFile, "%s", reason)
	}
	size, err := a.settledSize(ctx, conn)
	if err != nil {
		return routeros.Verdict{}, err
	}
	if a.raw, err = conn.ReadFile(ctx, file, a.raw[:0], a.maxExport); err != nil {
		return routeros.Verdict{}, err
	}
	a.trace(backup.Step{Name: stepFile, Took: time.Since(start), Detail: fmt.Sprintf("%d bytes by SFTP", len(a.raw))})
	if int64(len(a.raw)) != size {
		return routeros.Verdict{}, fault.New(fault.Incomplete, stepFile, "the router says that %s has %d bytes, and %d were read", file, size, len(a.raw))
	}
	v, err := a.prove(ctx, "")
	if err != nil {
		return v, err
	}
	if v.Complete {
		v.Proof = routeros.ProofSFTP
	}
	a.note(v)
	return v, nil
}

// remember keeps how the export begins that SSH has cut, for the file must begin so too. The last line may be cut itself.
func (a *attempt) remember(ctx context.Context) error {
	if a.begun.n > 0 {
		return nil
	}
	return a.compute(ctx, stepFile, func() error {
		n := bytes.LastIndexByte(bytes.TrimSuffix(a.normal, []byte("\n")), '\n') + 1
		a.begun = begun{n, routeros.Digest(a.normal[:n])}
		return nil
	})
}

// checkFile holds the normal form of a file against what SSH brought before it was cut.
func (a *attempt) checkFile(v routeros.Verdict) error {
	if v.Proof != routeros.ProofSFTP || len(a.normal) > a.begun.n && routeros.Digest(a.normal[:a.begun.n]) == a.begun.digest {
		return nil
	}
	return fault.New(fault.Incomplete, stepFile, "%s, of %d bytes, does not go on where the text ended that SSH cut: it is cut too, or the configuration changed meanwhile",
		file, len(v.Text))
}

// ask runs a command that answers in a line or none.
func (a *attempt) ask(ctx context.Context, conn *sshclient.Conn, command string) ([]byte, error) {
	buffer, err := conn.Exec(ctx, command, nil, answerMax)
	answer := bytes.Clone(buffer)
	a.memory.give(buffer)
	return answer, err
}

// settledSize waits until the file has stopped growing.
func (a *attempt) settledSize(ctx context.Context, conn *sshclient.Conn) (int64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fileTimeout, fault.New(fault.Timeout, stepFile, "%s did not settle within %s", file, fileTimeout))
	defer cancel()
	since := time.Now()
	for last := int64(0); ; {
		marker := newMarker()
		answer, err := a.ask(ctx, conn, routeros.SizeCommand(file, marker))
		if err != nil {
			return 0, err
		}
		size, unread := routeros.ParseSize(answer, marker) // the file may not be there yet
		if size == 0 || size != last {
			last, since = size, time.Now()
		}
		if size > 0 && time.Since(since) >= a.settle {
			return size, nil
		}
		select {
		case <-time.After(min(fileLookDelay, a.settle)):
		case <-ctx.Done():
			if unread != nil {
				return 0, fmt.Errorf("%w (%w)", ended(ctx, stepFile), unread)
			}
			return 0, ended(ctx, stepFile)
		}
	}
}

// removeFile leaves nothing of ours on the router; where that fails, the next attempt begins with it.
func (a *attempt) removeFile(ctx context.Context, conn *sshclient.Conn) {
	start := time.Now()
	err := conn.RemoveFile(context.WithoutCancel(ctx), file)
	a.export.FileLeft = err != nil
	if err != nil {
		a.trace(backup.Step{Name: "remove file", Took: time.Since(start), Detail: err.Error()})
	}
}
