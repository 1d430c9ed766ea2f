package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/stream"
)

type showOptions struct{ raw, suspect bool }

func (e *env) showCmd() *cobra.Command {
	o := showOptions{}
	cmd := &cobra.Command{
		Use: "show DEVICE [@VERSION|@TIME]", Short: "Print a device's configuration of now or of any time, or the text that was not proven whole",
		Long: `Print the normal form of a device's newest configuration, or of the version that is named; with --raw the text as the
router printed it. Where there is no archive, or where a newer snapshot is still on its way to it, the newest one comes
from the stream. DEVICE is an id, or a name that no other device has.

` + atHelp + `

With --suspect print what the router printed in the last attempt that brought a text and could not prove it whole; it is
kept for 7 days, and what was wrong with it is told on standard error. Mind that all of these hold the router's secrets.`,
		Example: `  confhaul show edge-7
  confhaul show edge-7 @2026-11-24T10:00 --raw`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if !o.suspect {
				return e.runShow(cmd.Context(), a[0], strings.Join(a[1:], ""), o.raw)
			}
			if len(a) > 1 {
				return usage(errors.New("show --suspect: there is one text per device, and no version of it"))
			}
			return e.runSuspect(cmd.Context(), a[0])
		},
	}
	cmd.Flags().BoolVar(&o.raw, "raw", false, "the text as the router printed it")
	cmd.Flags().BoolVar(&o.suspect, "suspect", false, "the text that was not proven whole")
	cmd.MarkFlagsMutuallyExclusive("raw", "suspect")
	return cmd
}

// suspectView is a suspect as JSON.
type suspectView struct {
	ID     string     `json:"id"`
	At     time.Time  `json:"at"`
	Kind   fault.Kind `json:"kind"`
	Reason string     `json:"reason"`
	Bytes  int        `json:"bytes"`
	Text   string     `json:"text"`
}

// snapshotView is a snapshot as JSON.
type snapshotView struct {
	ID            string    `json:"id"`
	At            time.Time `json:"at"`                 // when its export began, the first one of a version
	Number        int       `json:"version,omitempty"`  // absent: from the stream
	LastSeen      time.Time `json:"last_seen,omitzero"` // when the last export that equals it began
	Version       string    `json:"routeros_version"`
	Digest        string    `json:"sha256_hash"`
	Normalization int       `json:"normalization_version"`
	Proof         string    `json:"proof"`
	Text          string    `json:"text"`
}

func (e *env) runSuspect(ctx context.Context, id string) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	d, err := findDevice(ctx, p, id)
	if err != nil {
		return err
	}
	s, text, found, err := p.Stream.Suspect(ctx, d.Site, d.ID)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("device %s: no text that was not proven whole is kept (they go after %s)", id, age(stream.SuspectAge))
	}
	if e.output == "json" {
		return printJSON(e.out, suspectView{s.DeviceID, s.At, s.Kind, s.Reason, s.Bytes, string(text)})
	}
	_, _ = fmt.Fprintf(e.err, "%s, %s: %s\n", s.At.UTC().Format(time.DateTime), s.Kind, s.Reason)
	if len(text) < s.Bytes {
		_, _ = fmt.Fprintf(e.err, "the first %d of %d bytes:\n", len(text), s.Bytes)
	}
	_, err = e.out.Write(text)
	return err
}

func (e *env) runShow(ctx context.Context, word, which string, raw bool) error {
	view, err := e.archived(ctx, word, which, raw)
	switch {
	case which != "":
	case err == nil:
		if newer, found := e.newer(ctx, view, raw); found {
			view = newer
		}
	case errors.Is(err, archive.ErrNone), errors.Is(err, errNoHistory):
		view, err = e.streamed(ctx, word, raw, err)
	}
	if err != nil {
		return err
	}
	if e.output == "json" {
		return printJSON(e.out, view)
	}
	_, err = io.WriteString(e.out, view.Text)
	return err
}

// archived reads a version from the archive.
func (e *env) archived(ctx context.Context, word, which string, raw bool) (view snapshotView, err error) {
	r, err := e.history(ctx)
	if err != nil {
		return view, err
	}
	defer func() { _ = r.Close() }() // nothing was written
	d, err := findArchived(ctx, r, word)
	if err != nil {
		return view, err
	}
	v, err := findVersion(ctx, r, d, which, time.Now())
	if err != nil {
		return view, err
	}
	read := r.Normal
	if raw {
		read = r.Raw
	}
	v, text, err := read(ctx, d.ID, archive.Which{Number: v.Number})
	return snapshotView{v.Device, v.FirstSeen, v.Number, v.LastSeen, v.RouterOS, v.Digest, v.Normalization, v.Proof, string(text)}, historyError(err)
}

// newerTimeout is how long the newest archived version waits for word of a newer one.
const newerTimeout = 3 * time.Second

// newer reads the device's snapshot from the stream where it is newer than the archived one. Whether there is one is not
// known where nothing runs, or nobody can be asked; in the latter case that is told.
func (e *env) newer(ctx context.Context, have snapshotView, raw bool) (view snapshotView, found bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, newerTimeout, fmt.Errorf("no answer within %s", newerTimeout))
	defer cancel()
	view, found, err := e.newerOnStream(ctx, have, raw)
	if err != nil && !errors.Is(err, embedded.ErrNotRunning) {
		_, _ = fmt.Fprintf(e.err, "confhaul: this is the archive's newest, of %s; whether a newer one is on its way is not known: %v\n", moment(have.LastSeen), err)
	}
	return view, found && err == nil
}

func (e *env) newerOnStream(ctx context.Context, have snapshotView, raw bool) (view snapshotView, found bool, err error) {
	p, err := e.connect(ctx)
	if err != nil {
		return view, false, err
	}
	defer p.Close()
	d, found, err := p.Store.FindDevice(ctx, have.ID)
	if err != nil || !found {
		return view, false, err
	}
	s, _, err := p.Store.State(ctx, d.Key())
	if err != nil || s.Digest == have.Digest || !s.GoodStarted.After(have.LastSeen) {
		return view, false, err
	}
	view, found, err = lastOnStream(ctx, p, d, raw)
	return view, found && view.At.After(have.LastSeen), err
}

// streamed reads the newest snapshot from the stream. why is what the archive said: where the device is not in there and
// nobody else knows it, that says more.
func (e *env) streamed(ctx context.Context, word string, raw bool, why error) (view snapshotView, err error) {
	unknown := errors.Is(why, errNoHistory)
	p, err := e.connect(ctx)
	switch {
	case unknown && errors.Is(err, embedded.ErrNotRunning):
		return view, why
	case err != nil:
		return view, errors.Join(err, why)
	}
	defer p.Close()
	d, err := findNamed(ctx, p, word)
	switch {
	case unknown && exitCode(err) == exitUsage:
		return view, why
	case err != nil:
		return view, err
	}
	view, found, err := lastOnStream(ctx, p, d, raw)
	if err == nil && !found {
		err = fmt.Errorf("device %s: there is no snapshot yet (see confhaul status)", d.ID)
	}
	return view, err
}

// findNamed looks a device up in the registry, by its id or a name that no other one has.
func findNamed(ctx context.Context, p *app.Parts, word string) (device.Device, error) {
	registered, err := p.Store.Devices(ctx)
	if err != nil {
		return device.Device{}, err
	}
	var named []device.Device
	for _, d := range registered {
		if d.ID == word {
			return d, nil
		}
		if d.Name == word {
			named = append(named, d)
		}
	}
	switch len(named) {
	case 0:
		return device.Device{}, notRegistered(word)
	case 1:
		return named[0], nil
	}
	return device.Device{}, usage(fmt.Errorf("%d devices are called %q: use an id, as that of %s", len(named), word, named[0].ID))
}

func lastOnStream(ctx context.Context, p *app.Parts, d device.Device, raw bool) (view snapshotView, found bool, err error) {
	snap, _, found, err := p.Stream.Last(ctx, d.Site, d.ID)
	if err != nil || !found {
		return view, false, err
	}
	text := snap.ConfigText
	if raw {
		printed, err := stream.OpenRaw(snap)
		if err != nil {
			return view, false, err
		}
		text = string(printed)
	}
	return snapshotView{
		ID: snap.DeviceID, At: snap.CollectedAt, Version: snap.RouterOSVersion, Digest: snap.SHA256Hash, Normalization: snap.Normalization,
		Proof: snap.Proof, Text: text,
	}, true, nil
}
