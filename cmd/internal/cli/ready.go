package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	readyTimeout = 5 * time.Second
	readyMax     = 64 << 10 // bytes of the answer
)

func (e *env) readyCmd() *cobra.Command {
	address := ""
	cmd := &cobra.Command{
		Use: "ready", Short: "Ask a confhaul process on this machine whether it is ready; exit code 1 where it is not",
		Long: `Ask the confhaul process that listens at --listen, or where the settings say, whether it is ready, and print what it lacks. For
health checks of containers, which have no other program.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := e.settings()
			if err != nil {
				return err
			}
			if address == "" {
				address = s.Listen
			}
			return e.runReady(cmd.Context(), address, s.ListenTLS.Cert != "")
		},
	}
	listen(cmd, &address)
	return cmd
}

func (e *env) runReady(ctx context.Context, listen string, https bool) error {
	address, err := localAddress(listen)
	if err != nil {
		return usage(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("no answer within %s", readyTimeout))
	defer cancel()
	scheme := "http://"
	if https {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+address+"/readyz", http.NoBody)
	if err != nil {
		return usage(err)
	}
	client := http.Client{Transport: &http.Transport{ // its own: a proxy in the environment has no say
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // this machine is asked by its address, and told nothing
	}}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask process: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, readyMax))
	if err != nil {
		return fmt.Errorf("ask process: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "; "))
	}
	_, err = e.out.Write(body)
	return err
}

// localAddress is where a process that listens at listen is reached from this machine.
func localAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return "", err
	case port == "" || port == "0":
		return "", errors.New("the process takes a free port: name it by --listen")
	case host == "" || host == "0.0.0.0":
		host = "127.0.0.1"
	case host == "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
