package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

type acceptOptions struct {
	site, from string
	yes        bool
}

func (e *env) hostkeyAcceptCmd() *cobra.Command {
	o := acceptOptions{}
	cmd := &cobra.Command{
		Use: "accept DEVICE [FINGERPRINT]|--from FILE|--site SITE", Short: "Take the host keys of routers that were replaced, reset or given new ones",
		Long: `Put other host keys on record and lift the blocks of their devices. Old and new are always shown.

With a FINGERPRINT, or a CSV file of them (header: id,fingerprint), only a key with that fingerprint is taken: where the
device showed another one it stays blocked, and where it showed none yet the next backup must find that one. Without, the
key is taken that the device showed when it was blocked, once you have said yes: compare it with the router before
(/ip ssh print, or the one who replaced it). --site takes the keys of all devices of a site that are blocked for theirs.`,
		Args: args(cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runHostkeyAccept(cmd.Context(), a, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "CSV `file` of device ids and fingerprints")
	f.StringVar(&o.site, "site", "", "every device of this `site` that is blocked for its host key")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (e *env) runHostkeyAccept(ctx context.Context, a []string, o acceptOptions) error {
	wanted := map[string]string{} // fingerprint by device id, "" for the shown one
	ways := 0
	for _, given := range []bool{len(a) > 0, o.site != "", o.from != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return usage(errors.New("name a DEVICE, or --from FILE, or --site SITE"))
	}
	switch {
	case o.from != "":
		var err error
		if wanted, err = readFingerprints(o.from); err != nil {
			return usage(err)
		}
	case len(a) == 2:
		if !fingerprintShape.MatchString(a[1]) {
			return usage(fmt.Errorf("%q is not a fingerprint: %s", a[1], fingerprintHelp))
		}
		wanted[a[0]] = a[1]
	case len(a) == 1:
		wanted[a[0]] = ""
	}
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	ids := make([]string, 0, len(wanted))
	for id := range wanted {
		ids = append(ids, id)
	}
	keyed, err := keyedDevices(ctx, p, ids, o.site)
	if err != nil {
		return err
	}
	results := []keyResult{}
	for _, k := range keyed {
		if o.site != "" && k.Shown == nil {
			continue
		}
		r, err := choose(k, wanted[k.Device.ID])
		if err != nil {
			return usage(fmt.Errorf("device %s: %w", k.Device.ID, err))
		}
		results = append(results, r)
	}
	if o.site != "" || len(a) == 1 {
		if err := e.confirmKeys(ctx, results, o.yes); err != nil {
			return err
		}
	}
	if err := e.acceptKeys(ctx, p, results, device.HostKeyAccepted); err != nil {
		return err
	}
	for _, r := range results {
		if strings.HasPrefix(r.skip, "refused") {
			return &exitError{code: exitBlocked}
		}
	}
	return nil
}

// choose decides which key to put on record for a device: the shown one, or the one with the fingerprint.
func choose(k app.KeyedDevice, fingerprint string) (keyResult, error) {
	r := keyResult{keyed: k, new: device.HostKey{Fingerprint: fingerprint}}
	switch {
	case k.OnRecord != nil && k.OnRecord.Fingerprint == fingerprint && k.Shown == nil:
		r.new, r.skip = *k.OnRecord, "same"
	case k.Shown != nil && (fingerprint == "" || k.Shown.Fingerprint == fingerprint):
		r.new = *k.Shown
	case k.Shown != nil:
		r.skip = "refused: it showed " + keyText(k.Shown)
	case fingerprint == "":
		return r, errors.New("it is not blocked for its host key, so there is none to take: give the FINGERPRINT that it will show")
	}
	return r, nil
}

// confirmKeys shows the changes and asks whether to go on.
func (e *env) confirmKeys(ctx context.Context, results []keyResult, yes bool) error {
	if yes || len(results) == 0 {
		return nil
	}
	f, ok := e.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return usage(errors.New("give the fingerprint, or --yes to take what was shown"))
	}
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		rows = append(rows, []string{r.keyed.Device.ID, keyText(r.keyed.OnRecord), keyText(&r.new)})
	}
	table(e.err, []string{"DEVICE", "OLD", "NEW"}, rows)
	_, _ = fmt.Fprintf(e.err, "Take %s? [y/N] ", plural(len(results), "new key"))
	answer := make(chan string, 1)
	go func() { // cannot be stopped; ends with the process
		line, _ := bufio.NewReader(f).ReadString('\n') // an end of input is a no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errors.New("nothing was changed")
	case <-ctx.Done():
		return errors.New("interrupted; nothing was changed")
	}
}

const fingerprintHelp = "use SHA256: and 43 characters, as ssh-keygen -l prints it"

var fingerprintShape = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// fingerprintsMax bounds a CSV file of fingerprints, in bytes.
const fingerprintsMax = 64 << 20

// readFingerprints reads a CSV file with the columns id and fingerprint.
func readFingerprints(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read fingerprints: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	r := csv.NewReader(io.LimitReader(f, fingerprintsMax))
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = 2
	out := map[string]string{}
	for row := 0; ; row++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) && len(out) > 0 {
			return out, nil
		}
		if errors.Is(err, io.EOF) {
			return nil, &fault.InputError{File: name, Err: errors.New("holds no device: give the header id,fingerprint and a line for each")}
		}
		if err != nil {
			return nil, &fault.InputError{File: name, Err: fmt.Errorf("not CSV with the columns id,fingerprint: %w", err)}
		}
		id, fingerprint := strings.TrimSpace(record[0]), strings.TrimSpace(record[1])
		if row == 0 {
			if id != "id" || fingerprint != "fingerprint" {
				return nil, &fault.InputError{File: name, Line: 1, Err: errors.New("begin with the header id,fingerprint")}
			}
			continue
		}
		line, _ := r.FieldPos(0)
		switch _, twice := out[id]; {
		case twice:
			return nil, &fault.InputError{File: name, Line: line, Field: "id", Err: fmt.Errorf("%q stands there twice", id)}
		case !fingerprintShape.MatchString(fingerprint):
			return nil, &fault.InputError{File: name, Line: line, Field: "fingerprint", Err: fmt.Errorf("%q: %s", fingerprint, fingerprintHelp)}
		}
		out[id] = fingerprint
	}
}
