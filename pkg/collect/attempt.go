package collect

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

// The steps, as they stand in faults and traces after those of the connection.
const (
	stepTrust     = "trust host key"
	stepExport    = "export"
	stepProve     = "prove"
	stepNormalize = "normalize"
)

// attempt is one Collect.
type attempt struct {
	*Collector
	order  backup.Order
	trace  func(backup.Step)
	want   routeros.Want
	export backup.Export
	raw    []byte // output of the last command; from memory
	normal []byte // its normal form; from memory
}

// free gives the buffers back.
func (a *attempt) free() {
	a.memory.give(a.raw)
	a.memory.give(a.normal)
	a.raw, a.normal = nil, nil
}

func (a *attempt) run(ctx context.Context) error {
	conn, err := sshclient.Dial(ctx, sshclient.Target{
		Address:    a.order.Device.Address,
		Port:       a.order.Device.Port,
		Username:   a.order.Credential.Username,
		Password:   a.order.Credential.Password,
		PrivateKey: a.order.Credential.PrivateKey,
		HostKey:    a.order.HostKey,
		Timeouts:   a.timeouts,
		Reserve:    a.memory.reserve,
	}, a.trace)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what could fail here cannot change what was read
	if err := a.trust(ctx, conn); err != nil {
		return err
	}
	if a.raw, err = a.memory.take(0); err != nil {
		return err
	}
	v, err := a.proven(ctx, conn)
	if err != nil {
		return err
	}
	if err := a.normalize(ctx, v); err != nil {
		return err
	}
	if !routeros.Shrunk(a.order.LastBytes, len(v.Text)) {
		return nil
	}
	return a.confirm(ctx, conn, v)
}

// trust records an unknown host key, or ends the attempt.
func (a *attempt) trust(ctx context.Context, conn *sshclient.Conn) error {
	if a.order.HostKey != nil {
		return nil
	}
	if a.order.Trust == nil {
		return fault.New(fault.Internal, stepTrust, "the order has no host key and says not what to do with a new one")
	}
	err := a.order.Trust(ctx, conn.HostKey())
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); !ok && ctx.Err() != nil {
		return ended(ctx, stepTrust)
	}
	return fmt.Errorf("%s: %w", stepTrust, err)
}

// proven fetches until the export is proven or refused: once more in the form of another major version, and once more
// where the end marker is missing, which is how RouterOS cuts long output.
func (a *attempt) proven(ctx context.Context, conn *sshclient.Conn) (routeros.Verdict, error) {
	v, err := a.fetch(ctx, conn)
	if err == nil && v.Refetch != 0 {
		a.want.Major = v.Refetch
		v, err = a.fetch(ctx, conn)
	}
	again := ""
	if err == nil && v.Kind == fault.Incomplete && v.Proof == routeros.ProofNone {
		v, err = a.fetch(ctx, conn)
		again = " (twice on one connection)"
	}
	if err != nil {
		return v, err
	}
	return v, refusal(v, again)
}

// refusal is the fault of a text that is not an export proven whole.
func refusal(v routeros.Verdict, more string) error {
	if v.Complete {
		return nil
	}
	return fault.New(v.Kind, stepProve, "%s%s", v.Reason, more)
}

// fetch runs the export command and judges what came. The text of the last fetch is gone.
func (a *attempt) fetch(ctx context.Context, conn *sshclient.Conn) (routeros.Verdict, error) {
	marker, start := newMarker(), time.Now()
	a.export.Started = start
	var err error
	a.raw, err = conn.Exec(ctx, routeros.Command(a.want, marker), a.raw[:0], a.maxExport)
	if err != nil {
		a.trace(backup.Step{Name: stepExport, Took: time.Since(start), Detail: err.Error()})
		return routeros.Verdict{}, err
	}
	a.trace(backup.Step{Name: stepExport, Took: time.Since(start), Detail: fmt.Sprintf("%d bytes", len(a.raw))})

	var v routeros.Verdict
	start = time.Now()
	err = a.compute(ctx, stepProve, func() error {
		v = routeros.Prove(a.raw, marker, a.want, slices.Concat(a.order.KnownGaps, a.order.SeenGaps))
		return nil
	})
	if err != nil {
		return v, err
	}
	a.trace(backup.Step{Name: stepProve, Took: time.Since(start), Detail: describe(v)})
	a.note(v)
	return v, nil
}

// note takes over what a verdict knows of the router.
func (a *attempt) note(v routeros.Verdict) {
	e := &a.export
	e.Version, e.Identity, e.Model, e.SerialNumber = v.Version, v.Identity, v.Model, v.SerialNumber
	e.SeenGaps, e.KnownGaps = nil, nil
	for _, g := range v.Gaps {
		e.SeenGaps = append(e.SeenGaps, g.Menu)
	}
	if v.Complete {
		e.Raw = v.Text
		e.KnownGaps = slices.Clone(e.SeenGaps)
	}
}

// normalize makes the normal form of v's text and its digest.
func (a *attempt) normalize(ctx context.Context, v routeros.Verdict) error {
	start := time.Now()
	err := a.compute(ctx, stepNormalize, func() error {
		a.memory.give(a.normal)
		var err error
		if a.normal, err = a.memory.take(len(v.Text) + 1); err != nil { // the normal form is shorter, but for a final newline
			return err
		}
		counted := cap(a.normal)
		a.normal = routeros.Normalize(a.normal, v.Text)
		a.memory.used.Add(int64(cap(a.normal) - counted)) // there already, whatever the budget says
		a.export.Normal = a.normal
		a.export.Digest = routeros.Digest(a.normal)
		a.export.Normalization = routeros.NormalizationVersion
		return nil
	})
	if err != nil {
		return err
	}
	a.trace(backup.Step{Name: stepNormalize, Took: time.Since(start), Detail: fmt.Sprintf("sha256 %s, %d bytes", a.export.Digest, len(a.normal))})
	return nil
}

// confirm fetches a sharply shrunk export a second time and believes it only where both have one normal form.
func (a *attempt) confirm(ctx context.Context, conn *sshclient.Conn, first routeros.Verdict) error {
	size, digest := len(first.Text), a.export.Digest
	second, err := a.fetch(ctx, conn)
	if err != nil {
		return err
	}
	if err := refusal(second, " (second look at an export that shrank)"); err != nil {
		return err
	}
	if err := a.normalize(ctx, second); err != nil {
		return err
	}
	if a.export.Digest != digest {
		return fault.New(fault.Incomplete, stepProve, "the export shrank from %d to %d bytes, and a second one on the same connection, "+
			"of %d bytes, differs from it; neither is believed", a.order.LastBytes, size, len(second.Text))
	}
	return nil
}

func describe(v routeros.Verdict) string {
	switch {
	case v.Refetch != 0:
		return fmt.Sprintf("asked in the wrong form, asking again as RouterOS %d", v.Refetch)
	case !v.Complete:
		return v.Reason
	}
	return fmt.Sprintf("complete, RouterOS %s, proof %s, %d gaps", v.Version, v.Proof, len(v.Gaps))
}

// newMarker makes an end marker that no configuration can hold.
func newMarker() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // documented never to fail
	return "confhaul-end-" + hex.EncodeToString(b[:])
}

// ended wraps what ended ctx; a deadline without a cause of its own is the whole backup's.
func ended(ctx context.Context, step string) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return fault.New(fault.Timeout, step, "whole backup: not finished within its time: %w", cause)
	}
	return fmt.Errorf("%s: %w", step, cause)
}
