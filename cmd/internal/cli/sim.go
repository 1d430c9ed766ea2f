package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded"
	"github.com/confhaul/confhaul/pkg/routersim"
	"github.com/confhaul/confhaul/pkg/secret"
)

type simOptions struct {
	devices int
	out     string
	faults  bool
	seed    uint64
	sites   []string
	size    int
	listen  string
}

func (e *env) simCmd() *cobra.Command {
	o := simOptions{}
	cmd := &cobra.Command{
		Use: "sim --devices N --out DIR", Short: "Serve a fleet of simulated routers",
		Long: `Serve a fleet of simulated routers over real SSH until interrupted, on loopback where --listen names nothing else, and write inventory.yaml,
credentials.yaml and, last, confhaul.yaml into DIR. They work as they are with Redis and NATS on their usual local
ports: confhaul scheduler --config DIR/confhaul.yaml, and so on.

Each router has a port of its own; where they are more than 1,000, and on Linux only, each has an address of its own in
127.16.0.0/12 and all have one port, which only this machine reaches.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runSim(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.devices, "devices", 30, "number of routers")
	f.StringVar(&o.out, "out", "", "`directory` for the files (required)")
	f.BoolVar(&o.faults, "faults", false, "give about one router in ten a fault of some sort")
	f.Uint64Var(&o.seed, "seed", 1, "the same seed gives the same routers, keys and configurations")
	f.StringSliceVar(&o.sites, "sites", []string{device.DefaultSite}, "sites that the routers are dealt to")
	f.StringVar(&o.listen, "listen", "", "`host` name or address of this machine that the routers have, without a port (default: on loopback)")
	f.IntVar(&o.size, "size", 0, "bytes of each export; 0: as real ones are, mostly 4 to 15 KB")
	return cmd
}

const simUser, simCredential = "backup", "fleet"

func (e *env) runSim(ctx context.Context, o simOptions) error {
	if o.out == "" {
		return usage(fmt.Errorf("--out DIR is required: where the inventory and settings are written"))
	}
	password := embedded.NewToken()
	fleet, err := routersim.Start(ctx, routersim.Options{
		Devices: o.devices, Seed: o.seed, Sites: o.sites, Username: simUser, Password: password, Size: o.size, Listen: o.listen,
	})
	if err != nil {
		return usage(err)
	}
	defer func() { _ = fleet.Close() }()
	faulty := 0
	if o.faults {
		if faulty, err = spreadFaults(fleet); err != nil {
			return err
		}
	}
	if err := e.writeFleet(o.out, fleet.Devices(simCredential), password, simSettings); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(e.err, "serving %s (%d with a fault); settings in %s; stop with Ctrl-C\n",
		plural(o.devices, "router"), faulty, filepath.Join(o.out, "confhaul.yaml"))
	<-ctx.Done()
	return nil
}

// spreadFaults gives every tenth router the next fault in the list.
func spreadFaults(fleet *routersim.Fleet) (int, error) {
	all, n := routersim.Faults(), 0
	for i, r := range fleet.Routers() {
		if i%10 != 9 {
			continue
		}
		if err := r.SetFault(all[n%len(all)]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// simMark is the first line of the files, which are written over without asking; others are not.
const simMark = "# written by confhaul for a simulated fleet\n"

// simSettings are short enough to watch, and let routers be dialled as often as one likes.
const simSettings = `interval: 10m
jitter: {min: 1s, max: 30s}
redial_delay: 0s
`

// writeFleet writes the three files for a simulated fleet, whose devices all have simCredential; the settings come last and by rename, so that whoever sees them sees all.
func (e *env) writeFleet(dir string, devices []device.Device, password secret.Text, extra string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"inventory.yaml", "credentials.yaml", "confhaul.yaml"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && !strings.HasPrefix(string(b), simMark) {
			return usage(fmt.Errorf("%s is not one that sim or demo wrote: use another directory", filepath.Join(dir, name)))
		}
	}
	type entry struct {
		ID      string `yaml:"id"`
		Name    string `yaml:"name"`
		Address string `yaml:"address"`
		Port    int    `yaml:"port"`
		Site    string `yaml:"site"`
	}
	inventory := struct {
		Defaults map[string]string `yaml:"defaults"`
		Devices  []entry           `yaml:"devices"`
	}{Defaults: map[string]string{"credential": simCredential}}
	for _, d := range devices {
		inventory.Devices = append(inventory.Devices, entry{d.ID, d.Name, d.Address, d.Port, d.Site})
	}
	text, err := yaml.Marshal(inventory)
	if err != nil {
		return err
	}
	credentials := fmt.Sprintf("version_key: %s\ncredentials:\n  %s:\n    username: %s\n    password: %s\n",
		embedded.NewToken().Reveal(), simCredential, simUser, password.Reveal())
	config := "inventory: inventory.yaml\ncredentials: credentials.yaml\n" + extra
	for _, address := range []struct{ name, value string }{{"redis", e.redis}, {"nats", e.nats}} {
		if address.value != "" {
			config += address.name + ": " + address.value + "\n"
		}
	}
	for _, f := range []struct{ name, text string }{
		{"inventory.yaml", string(text)}, {"credentials.yaml", credentials}, {"confhaul.yaml", config},
	} {
		if err := writeByRename(filepath.Join(dir, f.name), simMark+f.text); err != nil {
			return err
		}
	}
	return nil
}

func writeByRename(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // created 0600
	if err != nil {
		return err
	}
	_, err = strings.NewReader(text).WriteTo(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
