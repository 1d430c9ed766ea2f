package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/inventory"
	"github.com/confhaul/confhaul/pkg/secret"
)

type tryOptions struct {
	address, user, passwordFile, keyFile, credential, raw string
	port                                                  int
	hide                                                  bool
}

func (e *env) tryCmd() *cobra.Command {
	o := tryOptions{}
	cmd := &cobra.Command{
		Use: "try ADDRESS[:PORT]", Short: "Back up one router now and say what was seen; needs no Redis and no NATS",
		Long: `Dial one router, fetch its export once and print each step and the verdict. Nothing is stored, unless --raw names a
file. The password comes from --password-file, from CONFHAUL_PASSWORD, or is asked for on a terminal; with --config,
--credential names one of the credentials file.

` + exitHelp,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			o.address = a[0]
			return e.runTry(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.user, "user", "", "router `user` (default the name of --credential's user, else admin)")
	f.IntVar(&o.port, "port", device.DefaultPort, "SSH port")
	f.StringVar(&o.passwordFile, "password-file", "", "`file` with the password")
	f.StringVar(&o.keyFile, "key-file", "", "`file` with a private key, instead of a password")
	f.StringVar(&o.credential, "credential", "", "`name` in the credentials file of --config")
	f.StringVar(&o.raw, "raw", "", "keep what the router printed in this `file` (0600), proven or not")
	f.BoolVar(&o.hide, "hide-sensitive", false, "export without the router's secrets")
	return cmd
}

// tryReport is what try prints as JSON.
type tryReport struct {
	Address  string     `json:"address"`
	Steps    []tryStep  `json:"steps"`
	Complete bool       `json:"complete"`
	Kind     fault.Kind `json:"kind,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Version  string     `json:"routeros_version,omitempty"`
	Identity string     `json:"identity,omitempty"`
	Model    string     `json:"model,omitempty"`
	Bytes    int        `json:"bytes"`
	Digest   string     `json:"sha256_hash,omitempty"`
	Gaps     []string   `json:"known_gaps,omitempty"`
	HostKey  string     `json:"host_key,omitempty"`
}

type tryStep struct {
	Name   string  `json:"step"`
	TookMS float64 `json:"took_ms"`
	Detail string  `json:"detail,omitempty"`
}

func (e *env) runTry(ctx context.Context, o tryOptions) error {
	s, err := e.settings()
	if err != nil {
		return err
	}
	dev, err := o.device()
	if err != nil {
		return usage(err)
	}
	cred, err := e.tryCredential(ctx, o, s.Credentials)
	if err != nil {
		return usage(err)
	}
	r := tryReport{Address: dev.Endpoint(), Steps: []tryStep{}}
	order := backup.Order{
		Device: dev, Credential: cred,
		Trust: func(_ context.Context, k device.HostKey) error { r.HostKey = k.Type + " " + k.Fingerprint; return nil },
		Trace: func(st backup.Step) {
			e.printStep(r.Steps)
			r.Steps = append(r.Steps, tryStep{st.Name, float64(st.Took.Microseconds()) / 1000, st.Detail})
		},
	}
	collector := app.NewCollector(s)
	defer collector.Close()
	export, err := collector.Collect(ctx, order)
	if export.Release != nil {
		defer export.Release()
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	r.Version, r.Identity, r.Model, r.Gaps = export.Version, export.Identity, export.Model, export.KnownGaps
	r.Bytes, r.Digest, r.Complete = len(export.Raw), export.Digest, err == nil
	if err != nil {
		r.Kind, r.Reason = fault.KindOf(err), err.Error()
		if n := len(r.Steps); n > 0 && strings.Contains(r.Reason, r.Steps[n-1].Detail) {
			r.Steps[n-1].Detail = "failed" // the verdict says how
		}
	}
	e.printStep(r.Steps)
	if o.raw != "" && len(export.Raw) > 0 {
		if werr := writeByRename(o.raw, string(export.Raw)); werr != nil {
			return fmt.Errorf("keep the text: %w", werr)
		}
	}
	return e.printTry(r)
}

// printStep prints the last step there is. Each is held back until the next one comes, or until the verdict is known.
func (e *env) printStep(steps []tryStep) {
	if len(steps) > 0 && e.output == "table" {
		s := steps[len(steps)-1]
		_, _ = fmt.Fprintf(e.out, "%-10s %9.1f ms  %s\n", s.Name, s.TookMS, s.Detail)
	}
}

func (e *env) printTry(r tryReport) error {
	if e.output == "json" {
		if err := printJSON(e.out, r); err != nil {
			return err
		}
	} else if r.Complete {
		_, _ = fmt.Fprintf(e.out, "\n%s: RouterOS %s, %s, %d bytes, host key %s\ndigest %s\n",
			paint(e.outTerminal, green, "complete"), r.Version, r.Identity, r.Bytes, r.HostKey, r.Digest)
	} else {
		_, _ = fmt.Fprintf(e.out, "\n%s: %s\n", paint(e.outTerminal, red, string(r.Kind)), r.Reason)
	}
	if r.Complete {
		return nil
	}
	return &exitError{code: kindCode(r.Kind)}
}

// kindCode is the exit code for a failed backup.
func kindCode(k fault.Kind) int {
	switch k {
	case fault.Infrastructure:
		return exitUnreachable
	case fault.Auth, fault.HostKey:
		return exitBlocked
	case fault.Incomplete:
		return exitIncomplete
	}
	return exitFailed
}

func (o tryOptions) device() (device.Device, error) {
	address, port := o.address, o.port
	if host, p, err := net.SplitHostPort(o.address); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil {
			return device.Device{}, fmt.Errorf("port %q is not a number", p)
		}
		address, port = host, n
	}
	if port < 1 || port > 65535 {
		return device.Device{}, fmt.Errorf("port %d: use 1 to 65535", port)
	}
	address = strings.Trim(address, "[]")
	return device.Device{ID: address, Name: address, Address: address, Port: port, Site: device.DefaultSite, Enabled: true}, nil
}

func (e *env) tryCredential(ctx context.Context, o tryOptions, file string) (secret.Credential, error) {
	c := secret.Credential{Name: "try", Username: "admin", Hide: o.hide}
	if o.credential != "" {
		if file == "" {
			return c, errors.New("--credential needs a settings file with --config that names a credentials file")
		}
		all, err := inventory.LoadCredentials(file)
		if err != nil {
			return c, err
		}
		if c, err = all.Credential(ctx, o.credential); err != nil {
			return c, err
		}
	}
	if o.user != "" {
		c.Username = o.user
	}
	switch {
	case o.keyFile != "":
		b, err := os.ReadFile(o.keyFile)
		if err != nil {
			return c, fmt.Errorf("read key: %w", err)
		}
		c.PrivateKey, c.Password = secret.New(string(b)), secret.Text{}
	case o.passwordFile != "":
		b, err := os.ReadFile(o.passwordFile)
		if err != nil {
			return c, fmt.Errorf("read password: %w", err)
		}
		c.Password = secret.New(strings.TrimRight(string(b), "\r\n"))
	case o.credential == "":
		return e.askPassword(ctx, c)
	}
	return c, nil
}

// askPassword takes the password from the environment or, on a terminal, from the keyboard without echo.
func (e *env) askPassword(ctx context.Context, c secret.Credential) (secret.Credential, error) {
	if p := e.getenv("CONFHAUL_PASSWORD"); p != "" {
		c.Password = secret.New(p)
		return c, nil
	}
	f, ok := e.in.(*os.File)
	if !ok {
		return c, errors.New("no password: use --password-file or CONFHAUL_PASSWORD")
	}
	if !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(f).ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return c, fmt.Errorf("no password: use --password-file, CONFHAUL_PASSWORD or standard input (%w)", err)
		}
		c.Password = secret.New(line)
		return c, nil
	}
	_, _ = fmt.Fprintf(e.err, "Password of %s: ", c.Username)
	defer func() { _, _ = fmt.Fprintln(e.err) }()
	password, err := readPassword(ctx, int(f.Fd()))
	c.Password = secret.New(password)
	return c, err
}

// readPassword reads without echo until the line ends or ctx does; the reader itself cannot be stopped and ends with the
// process.
func readPassword(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		text []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		got <- answer{b, err}
	}()
	select {
	case a := <-got:
		return string(a.text), a.err
	case <-ctx.Done():
		return "", errors.Join(errors.New("interrupted"), term.Restore(fd, before))
	}
}
