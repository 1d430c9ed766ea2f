package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/stream"
)

type showOptions struct{ raw, suspect bool }

func (e *env) showCmd() *cobra.Command {
	o := showOptions{}
	cmd := &cobra.Command{
		Use: "show DEVICE", Short: "Print a device's last snapshot, or the text that was not proven whole",
		Long: `Print the normal form of a device's last snapshot; with --raw the text as the router printed it. With --suspect print
what the router printed in the last attempt that brought a text and could not prove it whole; it is kept for 7 days, and
what was wrong with it is told on standard error. Mind that all of these hold the router's secrets.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runShow(cmd.Context(), a[0], o) },
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
	At            time.Time `json:"at"`
	Version       string    `json:"routeros_version"`
	Digest        string    `json:"sha256_hash"`
	Normalization int       `json:"normalization_version"`
	Proof         string    `json:"proof"`
	Text          string    `json:"text"`
}

func (e *env) runShow(ctx context.Context, id string, o showOptions) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	d, err := findDevice(ctx, p, id)
	if err != nil {
		return err
	}
	if o.suspect {
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
	snap, _, found, err := p.Stream.Last(ctx, d.Site, d.ID)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("device %s: no snapshot is on the stream (see confhaul status)", id)
	}
	text := snap.ConfigText
	if o.raw {
		raw, err := stream.OpenRaw(snap)
		if err != nil {
			return err
		}
		text = string(raw)
	}
	if e.output == "json" {
		return printJSON(e.out, snapshotView{snap.DeviceID, snap.CollectedAt, snap.RouterOSVersion, snap.SHA256Hash, snap.Normalization, snap.Proof, text})
	}
	_, err = io.WriteString(e.out, text)
	return err
}
