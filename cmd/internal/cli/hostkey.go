package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/sshclient"
)

func (e *env) hostkeyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "hostkey", Short: "List, accept, forget, import and export the routers' host keys", Args: args(cobra.NoArgs), RunE: help}
	cmd.AddCommand(e.hostkeyListCmd(), e.hostkeyAcceptCmd(), e.hostkeyForgetCmd(), e.hostkeyImportCmd(), e.hostkeyExportCmd())
	return cmd
}

func (e *env) hostkeyForgetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "forget DEVICE...", Short: "Forget a host key: the next backup records the one it is shown",
		Long: `Forget the host keys on record and lift the blocks of devices that showed another one. The next backup records
whatever key it is shown: where you know the new fingerprint, use confhaul hostkey accept instead.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return e.eachDevice(cmd.Context(), a, "hostkey-forget", func(ctx context.Context, p *app.Parts, d device.Device) (string, error) {
				key, found, err := p.Store.HostKey(ctx, d.Key())
				if err != nil {
					return "", err
				}
				result := "had no host key on record"
				if found {
					result = "forgot " + keyText(&key)
					err = p.Store.ForgetHostKey(ctx, d.Key())
				}
				if err != nil {
					return "", err
				}
				_, err = p.Lift(ctx, d.Key(), func(b backup.Block) bool { return b.Kind == fault.HostKey })
				return result, err
			})
		},
	}
}

// keyText is a key as people compare it.
func keyText(k *device.HostKey) string {
	if k == nil {
		return "-"
	}
	return strings.TrimSpace(k.Type + " " + k.Fingerprint)
}

// keyView is a host key as JSON.
type keyView struct {
	Type        string               `json:"type"`
	Fingerprint string               `json:"fingerprint"`
	SeenAt      time.Time            `json:"seen_at"`
	Source      device.HostKeySource `json:"source,omitempty"`
}

func viewKey(k *device.HostKey) *keyView {
	if k == nil {
		return nil
	}
	return &keyView{k.Type, k.Fingerprint, k.SeenAt, k.Source}
}

// keyLine is one device of hostkey list.
type keyLine struct {
	ID         string      `json:"id"`
	Site       string      `json:"site"`
	OnRecord   *keyView    `json:"on_record"`
	Shown      *keyView    `json:"shown,omitempty"` // instead of it; the device is blocked
	SharedWith []string    `json:"shared_with,omitempty"`
	History    []keyChange `json:"history,omitempty"` // newest first, of devices that were named
}

type keyChange struct {
	At        time.Time `json:"at"`
	Forgotten bool      `json:"forgotten,omitempty"`
	Key       *keyView  `json:"key,omitempty"`
}

type keyListOptions struct {
	site   string
	shared bool
}

func (e *env) hostkeyListCmd() *cobra.Command {
	o := keyListOptions{}
	cmd := &cobra.Command{
		Use: "list [DEVICE...]", Short: "List the host keys on record, and what devices showed instead",
		Long: `List the host keys on record, what blocked devices showed instead, and which keys stand on several devices: their
images were cloned, and each can pass for the others. For named devices the last changes are listed too.`,
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runHostkeyList(cmd.Context(), a, o) },
	}
	cmd.Flags().StringVar(&o.site, "site", "", "only this `site`")
	cmd.Flags().BoolVar(&o.shared, "shared", false, "only keys that several devices have")
	return cmd
}

func (e *env) runHostkeyList(ctx context.Context, ids []string, o keyListOptions) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	keyed, err := keyedDevices(ctx, p, ids, o.site)
	if err != nil {
		return err
	}
	lines := []keyLine{}
	for _, k := range keyed {
		if o.shared && len(k.SharedWith) == 0 {
			continue
		}
		l := keyLine{ID: k.Device.ID, Site: k.Device.Site, OnRecord: viewKey(k.OnRecord), Shown: viewKey(k.Shown), SharedWith: k.SharedWith}
		if len(ids) > 0 {
			changes, err := p.Store.HostKeyHistory(ctx, k.Device.Key())
			if err != nil {
				return err
			}
			for _, c := range changes {
				change := keyChange{At: c.At, Forgotten: c.Forgotten}
				if !c.Forgotten {
					change.Key = viewKey(&c.HostKey)
				}
				l.History = append(l.History, change)
			}
		}
		lines = append(lines, l)
	}
	if e.output == "json" {
		return printJSON(e.out, lines)
	}
	return e.printKeys(lines)
}

func (e *env) printKeys(lines []keyLine) error {
	rows := make([][]string, 0, len(lines))
	for _, l := range lines {
		row := []string{l.ID, l.Site, "-", "-", "-", ""}
		if k := l.OnRecord; k != nil {
			row = []string{l.ID, l.Site, strings.TrimSpace(k.Type + " " + k.Fingerprint), string(k.Source), k.SeenAt.UTC().Format(time.DateOnly), ""}
		}
		switch {
		case l.Shown != nil:
			row[5] = "blocked: it showed " + l.Shown.Type + " " + l.Shown.Fingerprint
		case len(l.SharedWith) > 0:
			row[5] = "the same key as " + clip(strings.Join(l.SharedWith, " "), 40)
		}
		rows = append(rows, row)
	}
	table(e.out, []string{"DEVICE", "SITE", "HOST KEY", "SOURCE", "SINCE", "NOTE"}, rows)
	for _, l := range lines {
		if len(l.History) < 2 {
			continue
		}
		_, _ = fmt.Fprintf(e.out, "\n%s before:\n", l.ID)
		for _, c := range l.History {
			what := "forgotten"
			if c.Key != nil {
				what = fmt.Sprintf("%s %s (%s)", c.Key.Type, c.Key.Fingerprint, c.Key.Source)
			}
			_, _ = fmt.Fprintf(e.out, "  %s  %s\n", c.At.UTC().Format(time.DateTime), what)
		}
	}
	return nil
}

// keyedDevices are the named devices, or all of a site, or all.
func keyedDevices(ctx context.Context, p *app.Parts, ids []string, site string) ([]app.KeyedDevice, error) {
	all, err := p.KeyedDevices(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(k app.KeyedDevice) bool { return k.Device.ID == id }) {
			return nil, notRegistered(id)
		}
	}
	out := slices.DeleteFunc(all, func(k app.KeyedDevice) bool {
		return len(ids) > 0 && !slices.Contains(ids, k.Device.ID) || site != "" && k.Device.Site != site
	})
	if site != "" && len(out) == 0 {
		return nil, usage(fmt.Errorf("--site %s: no device is on it", site))
	}
	return out, nil
}

func notRegistered(id string) error {
	return usage(fmt.Errorf("device %q is not in the registry (see confhaul inventory list)", id))
}

func (e *env) hostkeyExportCmd() *cobra.Command {
	site := ""
	cmd := &cobra.Command{
		Use: "export [DEVICE...]", Short: "Print the host keys on record as an OpenSSH known_hosts file",
		Args: args(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runHostkeyExport(cmd.Context(), a, site) },
	}
	cmd.Flags().StringVar(&site, "site", "", "only this `site`")
	return cmd
}

func (e *env) runHostkeyExport(ctx context.Context, ids []string, site string) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	keyed, err := keyedDevices(ctx, p, ids, site)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(e.out)
	left := 0
	for _, k := range keyed {
		switch {
		case k.OnRecord == nil:
			continue
		case len(k.OnRecord.Key) == 0:
			left++
			continue
		}
		line, err := sshclient.FormatKnownHosts(k.Device.Address, k.Device.Port, *k.OnRecord)
		if err != nil {
			return fmt.Errorf("device %s: %w", k.Device.ID, err)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if left > 0 {
		_, _ = fmt.Fprintf(e.err, "%s left out: only the fingerprint is on record until the next backup shows the key\n", plural(left, "device"))
	}
	return w.Flush()
}

func (e *env) hostkeyImportCmd() *cobra.Command {
	replace := false
	cmd := &cobra.Command{
		Use: "import FILE...", Short: "Put the host keys of OpenSSH known_hosts files on record",
		Long: `Look every device of the registry up in known_hosts files, by its address and port, and put the keys on record of
those that have none. A key that differs from the one on record is shown and left alone, unless --replace is given.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return e.runHostkeyImport(cmd.Context(), a, replace) },
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "put keys on record in place of others")
	return cmd
}

func (e *env) runHostkeyImport(ctx context.Context, files []string, replace bool) error {
	var known []*sshclient.KnownHosts
	for _, name := range files {
		k, err := readKnownHosts(name)
		if k == nil {
			return usage(err)
		}
		if err != nil { // lines that cannot be taken; the others can
			for _, line := range lines(err) {
				_, _ = fmt.Fprintln(e.err, "confhaul: left out:", line)
			}
		}
		known = append(known, k)
	}
	p, err := e.connectRegistry(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	keyed, err := p.KeyedDevices(ctx)
	if err != nil {
		return err
	}
	at := map[string]int{}
	for _, k := range keyed {
		at[k.Device.Endpoint()]++
	}
	results, shared := []keyResult{}, 0
	for _, k := range keyed {
		if at[k.Device.Endpoint()] > 1 {
			shared++
			continue
		}
		var found []device.HostKey
		for _, one := range known {
			found = append(found, one.Lookup(k.Device.Address, k.Device.Port)...)
		}
		if len(found) == 0 {
			continue
		}
		r := keyResult{keyed: k, new: found[0]}
		switch {
		case k.OnRecord != nil && slices.ContainsFunc(found, func(f device.HostKey) bool { return f.Fingerprint == k.OnRecord.Fingerprint }):
			r.new, r.skip = *k.OnRecord, "same"
		case k.OnRecord != nil && !replace:
			r.skip = "differs: left alone (--replace takes the file's)"
		}
		results = append(results, r)
	}
	if err := e.acceptKeys(ctx, p, results, device.HostKeyImported); err != nil {
		return err
	}
	if shared > 0 {
		_, _ = fmt.Fprintf(e.err, "%s left out: several have the same address and port, behind different jump hosts\n", plural(shared, "device"))
	}
	if n := len(keyed) - len(results) - shared; n > 0 {
		_, _ = fmt.Fprintf(e.err, "%s not in the file\n", plural(n, "device"))
	}
	return nil
}

func readKnownHosts(name string) (*sshclient.KnownHosts, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	return sshclient.ParseKnownHosts(f, name)
}

// keyResult is what is to become, and became, of one device's key.
type keyResult struct {
	keyed app.KeyedDevice
	new   device.HostKey
	skip  string // why the key on record stays
}

// acceptKeys puts the keys on record that are not skipped and prints old and new of each device.
func (e *env) acceptKeys(ctx context.Context, p *app.Parts, results []keyResult, source device.HostKeySource) error {
	type line struct {
		ID     string   `json:"id"`
		Old    *keyView `json:"old"`
		New    *keyView `json:"new"`
		Result string   `json:"result"`
	}
	lines, rows, failed := []line{}, [][]string{}, []error{}
	for _, r := range results {
		result := r.skip
		if r.skip == "" {
			r.new.SeenAt, r.new.Source = time.Now().UTC(), source
			result = string(source)
			err := p.AuditCommand(ctx, "hostkey-"+strings.TrimSuffix(result, "ed")+" "+r.new.Fingerprint, r.keyed.Device.Site, r.keyed.Device.ID)
			if err == nil {
				err = p.AcceptHostKey(ctx, r.keyed, r.new)
			}
			if err != nil {
				result = "not changed"
				failed = append(failed, fmt.Errorf("device %s: %w", r.keyed.Device.ID, err))
			}
		}
		lines = append(lines, line{r.keyed.Device.ID, viewKey(r.keyed.OnRecord), viewKey(&r.new), result})
		if r.skip != "same" {
			rows = append(rows, []string{r.keyed.Device.ID, keyText(r.keyed.OnRecord), keyText(&r.new), result})
		}
	}
	if e.output == "json" {
		return errors.Join(append(failed, printJSON(e.out, lines))...)
	}
	if same := len(lines) - len(rows); same > 0 {
		_, _ = fmt.Fprintf(e.out, "%s with the same key on record\n", plural(same, "device"))
	}
	if len(rows) > 0 {
		table(e.out, []string{"DEVICE", "OLD", "NEW", "RESULT"}, rows)
	}
	return errors.Join(failed...)
}
