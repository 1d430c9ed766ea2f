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
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/secret"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

// The steps, as they stand in faults and traces after those of the connection. One walk proves an export and makes its normal
// form, which is stepProve; what stepNormalize has is the digest.
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
	twice  bool
	export backup.Export
	raw    []byte // output of the last command; from memory
	normal []byte // its normal form, proven or not; from memory
	begun  begun  // how the export begins that SSH cut
}

// free gives the buffers back.
func (a *attempt) free() {
	a.memory.give(a.raw)
	a.memory.give(a.normal)
	a.raw, a.normal = nil, nil
}

func (a *attempt) run(ctx context.Context) error {
	conn, err := sshclient.Dial(ctx, a.target(), a.trace)
	if err != nil {
		if differs, ok := errors.AsType[*sshclient.HostKeyError](err); ok && fault.KindOf(err) == fault.HostKey {
			a.export.HostKey = &differs.Seen
		}
		return err
	}
	defer func() { _ = conn.Close() }() // what could fail here cannot change what was read
	key := conn.HostKey()
	a.export.HostKey, a.export.Legacy = &key, conn.Legacy()
	if err := a.trust(ctx, conn); err != nil {
		return err
	}
	if a.order.FileLeft {
		a.removeFile(ctx, conn)
	}
	v, err := a.proven(ctx, conn)
	if err != nil {
		return err
	}
	if err := a.checkFile(v); err != nil {
		return err
	}
	switch {
	case a.twice && v.Proof == routeros.ProofNone:
		if err := a.vouch(ctx, conn, v); err != nil {
			return err
		}
	case routeros.Shrunk(a.order.LastBytes, len(v.Text)):
		if v, err = a.confirm(ctx, conn, v); err != nil {
			return err
		}
	}
	return a.checkSecrets(ctx, v)
}

// target is the device as a connection needs it.
func (a *attempt) target() sshclient.Target {
	hops := make([]sshclient.Hop, 0, len(a.order.Jumps))
	for _, h := range a.order.Jumps {
		hops = append(hops, sshclient.Hop{
			Name:   h.Jump.ID,
			Key:    h.Jump.Key() + " " + h.Jump.Endpoint() + " " + h.Credential.Version,
			Target: a.opens(h.Jump.Address, h.Jump.Port, h.Credential, h.HostKey),
			Trust:  h.Trust,
		})
	}
	d := a.order.Device
	t := a.opens(d.Address, d.Port, a.order.Credential, a.order.HostKey)
	t.Dial, t.Grow = a.jumps.Dialer(hops), a.grow
	return t
}

// grow gives a buffer for output. The first is as large as the last export was, and a little more.
func (a *attempt) grow(b []byte, limit int) ([]byte, error) {
	const markerMax = 1 << 10
	size := max(2*cap(b), a.order.LastBytes+a.order.LastBytes/16+markerMax)
	return a.memory.grow(b, min(size, limit))
}

func (a *attempt) opens(address string, port int, c secret.Credential, k *device.HostKey) sshclient.Target {
	return sshclient.Target{
		Address: address, Port: port, Username: c.Username, Password: c.Password, PrivateKey: c.PrivateKey, HostKey: k, Timeouts: a.timeouts,
	}
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
// where the end marker is missing, which is how RouterOS cuts long output; and then as a file, where that is allowed.
func (a *attempt) proven(ctx context.Context, conn *sshclient.Conn) (routeros.Verdict, error) {
	v, err := a.fetch(ctx, conn)
	if err == nil && v.Refetch != 0 {
		a.want.Major = v.Refetch
		v, err = a.fetch(ctx, conn)
	}
	again := ""
	if a.cut(v, err) {
		v, err = a.fetch(ctx, conn)
		again = " (twice on one connection)"
	}
	if a.cut(v, err) && a.order.Device.LargeExport == device.LargeExportSFTP {
		v, err = a.fetchFile(ctx, conn)
		again = " (in the file that the router wrote, after SSH cut the export twice)"
	}
	if err != nil {
		return v, err
	}
	return v, refusal(v, again)
}

// cut says whether an export came without its end, as far as an end marker tells.
func (a *attempt) cut(v routeros.Verdict, err error) bool {
	return err == nil && !a.twice && v.Kind == fault.Incomplete && v.Proof == routeros.ProofNone
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
	if a.twice {
		marker = ""
	}
	a.export.Started = start
	var err error
	a.raw, err = conn.Exec(ctx, routeros.Command(a.want, marker), a.raw[:0], a.maxExport)
	if err != nil {
		a.trace(backup.Step{Name: stepExport, Took: time.Since(start), Detail: err.Error()})
		return routeros.Verdict{}, err
	}
	a.trace(backup.Step{Name: stepExport, Took: time.Since(start), Detail: fmt.Sprintf("%d bytes", len(a.raw))})
	v, err := a.prove(ctx, marker)
	if err != nil {
		return v, err
	}
	a.note(v)
	return v, nil
}

// prove judges what came and makes its normal form, and the digest of that where the export is whole. Of an export that is
// the device's last one there is no normal form.
func (a *attempt) prove(ctx context.Context, marker string) (v routeros.Verdict, err error) {
	start := time.Now()
	var proven time.Time
	same := false
	err = a.compute(ctx, stepProve, func() error {
		gist, text, whole := routeros.GistOf(a.raw, marker)
		if v, same = a.recall(gist, text); same {
			return nil
		}
		a.memory.give(a.normal)
		if a.normal, err = a.memory.take(len(a.raw) + 1); err != nil { // the normal form is shorter, but for a final newline
			return err
		}
		counted := cap(a.normal)
		v = routeros.Prove(a.normal, a.raw, marker, a.want, slices.Concat(a.order.KnownGaps, a.order.SeenGaps))
		a.normal = v.Normal
		a.memory.used.Add(int64(cap(a.normal) - counted)) // there already, whatever the budget says
		proven = time.Now()
		if v.Complete {
			a.export.Normal, a.export.Normalization = a.normal, routeros.NormalizationVersion
			a.export.Digest = routeros.Digest(a.normal)
			if whole {
				a.judge(gist, v)
			}
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	if same {
		a.trace(backup.Step{Name: stepProve, Took: time.Since(start), Detail: "as the last export"})
		return v, nil
	}
	a.trace(backup.Step{Name: stepProve, Took: proven.Sub(start), Detail: describe(v)})
	if v.Complete {
		a.trace(backup.Step{Name: stepNormalize, Took: time.Since(proven), Detail: fmt.Sprintf("sha256 %s, %d bytes", a.export.Digest, len(a.normal))})
	}
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
		e.Raw, e.Proof, e.Secrets = v.Text, v.Proof, v.Secrets
		e.KnownGaps = slices.Clone(e.SeenGaps)
	}
}

// second fetches the export again and says whether it has the same normal form.
func (a *attempt) second(ctx context.Context, conn *sshclient.Conn, first routeros.Verdict, why string) (routeros.Verdict, bool, error) {
	digest, fetch := a.export.Digest, a.fetch
	if first.Proof == routeros.ProofSFTP {
		fetch = a.fetchFile
	}
	v, err := fetch(ctx, conn)
	if err == nil {
		err = refusal(v, why)
	}
	return v, a.export.Digest == digest, err
}

// confirm fetches a sharply shrunk export a second time and believes it only where both have one normal form.
func (a *attempt) confirm(ctx context.Context, conn *sshclient.Conn, first routeros.Verdict) (routeros.Verdict, error) {
	size := len(first.Text)
	v, same, err := a.second(ctx, conn, first, " (second look at an export that shrank)")
	if err == nil && !same {
		err = fault.New(fault.Incomplete, stepProve, "the export shrank from %d to %d bytes, and a second one on the same connection, "+
			"of %d bytes, differs from it; neither is believed", a.order.LastBytes, size, len(v.Text))
	}
	return v, err
}

// vouch fetches an export that no end marker proves a second time: the two prove each other.
func (a *attempt) vouch(ctx context.Context, conn *sshclient.Conn, first routeros.Verdict) error {
	size := len(first.Text)
	if size > routeros.TwiceMax {
		return fault.New(fault.Incomplete, stepProve, "an export of %d bytes without an end marker: `proof: twice` vouches for %d at most, because "+
			"a cut by the router's SSH server falls at the same place twice; use `proof: marker`", size, routeros.TwiceMax)
	}
	v, same, err := a.second(ctx, conn, first, " (second of two exports)")
	if err == nil && !same {
		err = fault.New(fault.Incomplete, stepProve, "two exports on one connection, of %d and %d bytes, differ: neither is believed", size, len(v.Text))
	}
	if err == nil {
		a.export.Proof = routeros.ProofTwice
	}
	return err
}

// checkSecrets refuses an export without secrets where the last one had some and their items are still there: RouterOS
// leaves them out without a word when the user's group loses the policy.
func (a *attempt) checkSecrets(ctx context.Context, v routeros.Verdict) error {
	if v.Secrets > a.order.Secrets/2 || a.order.Secrets == 0 || a.order.LastNormal == nil || a.want.Hide || a.want.WithoutSecrets {
		return nil
	}
	const advice = "give the user's group policy=ssh,read,sensitive; if the secrets were really taken off the router, run " +
		"`confhaul backup DEVICE --without-secrets` once"
	last, err := a.order.LastNormal(ctx)
	if err != nil {
		return fmt.Errorf("compare with the last export: %w", err)
	}
	if last == nil {
		return fault.New(fault.Permission, stepProve, "%d secrets show in the export, the last one had %d, and that one is not at hand any more; %s",
			v.Secrets, a.order.Secrets, advice)
	}
	if item, n := routeros.SecretsGone(last, a.normal); n > 0 && (v.Secrets == 0 || n > a.order.Secrets/2) {
		return fault.New(fault.Permission, stepProve, "%d secrets show in the export, and %d of the items that had one are still there without it, first %s; %s",
			v.Secrets, n, item, advice)
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
