package collect

import (
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

	// The router goes on writing after the command has ended: the file is whole when its size stays the same for this long.
	fileSettleDelay = time.Second
	answerMax       = 64 << 10 // bytes of the answer to a command that should print a line
)

// fetchFile has the router write the export into a file, and fetches and removes that. The size that the router tells,
// twice the same, must be what was read: no end marker stands in a file.
func (a *attempt) fetchFile(ctx context.Context, conn *sshclient.Conn) (routeros.Verdict, error) {
	if err := conn.RemoveFile(ctx, file); err != nil {
		return routeros.Verdict{}, err
	}
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

// ask runs a command that answers in a line or none. The text of the export before it is gone.
func (a *attempt) ask(ctx context.Context, conn *sshclient.Conn, command string) (answer []byte, err error) {
	a.raw, err = conn.Exec(ctx, command, a.raw[:0], answerMax)
	return a.raw, err
}

// settledSize waits until the file has stopped growing, for as long as an export may take to its first byte.
func (a *attempt) settledSize(ctx context.Context, conn *sshclient.Conn) (int64, error) {
	limit := a.timeouts.FirstByte
	if limit <= 0 {
		limit = sshclient.DefaultTimeouts().FirstByte
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fault.New(fault.Timeout, stepFile, "%s did not settle within %s", file, limit))
	defer cancel()
	for last := int64(0); ; {
		marker := newMarker()
		answer, err := a.ask(ctx, conn, routeros.SizeCommand(file, marker))
		if err != nil {
			return 0, err
		}
		size, unread := routeros.ParseSize(answer, marker) // the file may not be there yet
		if size > 0 && size == last {
			return size, nil
		}
		last = size
		select {
		case <-time.After(fileSettleDelay):
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
	if err := conn.RemoveFile(context.WithoutCancel(ctx), file); err != nil {
		a.trace(backup.Step{Name: "remove file", Took: time.Since(start), Detail: err.Error()})
	}
}
