package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/pkg/routeros"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

func (e *env) inspectCmd() *cobra.Command {
	normalized := false
	cmd := &cobra.Command{
		Use: "inspect FILE", Short: "Say whether a saved export is whole, and print its normal form",
		Long: `Read an export from a file (or from standard input: -) and say whether it is whole and what it tells of its router.
Nothing is dialled and nothing is stored. Without an end marker the proof is "none": a file cut at the end of a line
cannot be told from a whole one.

Exit codes: 0 the export is whole, 2 usage, 5 it is not.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, a []string) error { return e.runInspect(a[0], normalized) },
	}
	cmd.Flags().BoolVar(&normalized, "normalized", false, "print the normal form")
	return cmd
}

func (e *env) runInspect(name string, normalized bool) error {
	text, err := e.readExport(name)
	if err != nil {
		return usage(err)
	}
	i := routeros.Inspect(text)
	switch {
	case normalized:
		_, err = e.out.Write(routeros.Normalize(nil, routeros.Body(text)))
		if err == nil && !i.Complete {
			_, err = fmt.Fprintln(e.err, "confhaul: not whole:", i.Reason)
		}
	case e.output == "json":
		err = printJSON(e.out, i)
	default:
		err = e.printInspection(i)
	}
	if err == nil && !i.Complete {
		err = &exitError{code: exitIncomplete}
	}
	return err
}

// readExport takes a whole file, at most as much as an export may have.
func (e *env) readExport(name string) ([]byte, error) {
	in := e.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read export: %w", err)
		}
		defer func() { _ = f.Close() }() // nothing was written
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, sshclient.DefaultMaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read export: %w", err)
	}
	if len(text) > sshclient.DefaultMaxBytes {
		return nil, fmt.Errorf("read export: %s is over %d bytes", name, sshclient.DefaultMaxBytes)
	}
	return text, nil
}

func (e *env) printInspection(i routeros.Inspection) error {
	verdict := paint(e.outTerminal, green, "complete")
	if !i.Complete {
		verdict = paint(e.outTerminal, red, "incomplete") + ": " + i.Reason
	}
	lines := []string{verdict}
	for _, f := range []struct{ name, value string }{
		{"proof", i.Proof}, {"RouterOS", i.Version}, {"identity", i.Identity}, {"model", i.Model}, {"serial number", i.SerialNumber},
		{"secrets", i.Sensitive}, {"known gaps", strings.Join(i.KnownGaps, ", ")}, {"digest", i.Digest},
	} {
		if f.value != "" {
			lines = append(lines, fmt.Sprintf("%-14s %s", f.name, f.value))
		}
	}
	_, err := fmt.Fprintln(e.out, strings.Join(lines, "\n"))
	return err
}
