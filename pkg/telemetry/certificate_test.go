package telemetry_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/telemetry"
	"github.com/confhaul/confhaul/pkg/transport/transporttest"
)

// TestHTTPS serves with a certificate that is renewed while it serves; a bad new one leaves the old in force.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	ca := transporttest.NewAuthority(t)
	first := ca.Issue(t, "server")
	var log bytes.Buffer // written by handshakes alone, one after the other
	c, err := telemetry.OpenCertificate(first.Cert, first.Key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := telemetry.NewServer(telemetry.NewReady(), telemetry.NewMetrics())
	s.UseTLS(c)
	if err := s.Listen(t.Context(), "127.0.0.1:0", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pem, err := os.ReadFile(ca.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	serial := func() string {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok\n" {
			t.Errorf("%q, %v", body, err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	old := serial()
	ca.Issue(t, "server")
	renewed := serial()
	if renewed == old {
		t.Error("the new certificate is not served")
	}
	if err := os.WriteFile(first.Cert, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := serial(); got != renewed {
			t.Errorf("a bad file: %s is served, not %s", got, renewed)
		}
	}
	ca.Issue(t, "server")
	if err := os.Chmod(first.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != renewed {
		t.Error("a key that others can read was taken")
	}
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if told := strings.Count(log.String(), "old one stays in force"); told != 2 || !strings.Contains(log.String(), "chmod 600 "+first.Key) {
		t.Errorf("told %d times: %s", told, log.String())
	}
	if _, err := telemetry.OpenCertificate(first.Cert, first.Key, nil); err == nil || !strings.Contains(err.Error(), "others can use it") {
		t.Errorf("at start: %v", err)
	}
	if _, err := telemetry.OpenCertificate("/nonexistent", "/nonexistent", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no files: %v", err)
	}
}
