package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

const waitTimeout = 20 * time.Second // of anything a test waits for; never reached but by a fault

var quiet = slog.New(slog.DiscardHandler)

func serve(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Listen(t.Context(), "127.0.0.1:0", quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.URL(), "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	ready := NewReady("nats", "redis")
	s := NewServer(ready, NewMetrics())
	serve(t, s)
	want := func(step, path string, status int, text string) {
		t.Helper()
		if gotStatus, got := get(t, s, path); gotStatus != status || got != text {
			t.Errorf("%s: %s: got %d %q, want %d %q", step, path, gotStatus, got, status, text)
		}
	}
	want("at start", "/readyz", 503, "nats: not known yet\nredis: not known yet\n")
	want("at start", "/healthz", 200, "ok\n")
	ready.Set("redis", nil)
	ready.Set("nats", errors.New("dial:\nrefused"))
	ready.Set("clock", errors.New("11s behind redis"))
	want("parts broken", "/readyz", 503, "clock: 11s behind redis\nnats: dial:; refused\n")
	ready.Set("nats", nil)
	ready.Set("clock", nil)
	want("all well", "/readyz", 200, "ready\n")
	want("all well", "/nothing", 404, "404 page not found\n")
}

func TestReadyStatus(t *testing.T) {
	t.Parallel()
	var r Ready
	if got := r.Status(); len(got) != 0 {
		t.Errorf("zero value: got %v", got)
	}
	broken := errors.New("broken")
	r.Set("b", broken)
	r.Set("a", nil)
	got := r.Status()
	if len(got) != 2 || got[0] != (Condition{Name: "a"}) || got[1] != (Condition{Name: "b", Err: broken}) {
		t.Errorf("got %v", got)
	}
}

func TestHandle(t *testing.T) {
	t.Parallel()
	s := NewServer(&Ready{}, NewMetrics())
	serve(t, s)
	s.Handle("/dashboard/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusTeapot, "here") }))
	if status, body := get(t, s, "/dashboard/x"); status != http.StatusTeapot || body != "here" {
		t.Errorf("got %d %q", status, body)
	}
}

func TestListenOnATakenAddress(t *testing.T) {
	t.Parallel()
	first := NewServer(&Ready{}, NewMetrics())
	serve(t, first)
	second := NewServer(&Ready{}, NewMetrics())
	err := second.Listen(t.Context(), first.Addr(), quiet)
	if err == nil || !strings.Contains(err.Error(), first.Addr()) {
		t.Errorf("got %v", err)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Errorf("stop of what never started: %v", err)
	}
}

func TestListenLogsTheAddress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := NewServer(&Ready{}, NewMetrics())
	if err := s.Listen(t.Context(), "127.0.0.1:0", NewLogger(&out, false, slog.LevelInfo)); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"address":"`+s.Addr()+`"`) {
		t.Errorf("got %s", out.String())
	}
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	s := NewServer(&Ready{}, NewMetrics())
	entered, left := make(chan struct{}), make(chan struct{})
	s.Handle("/hang", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	}))
	if err := s.Listen(t.Context(), "127.0.0.1:0", quiet); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr() + "/hang")
		if err == nil {
			_ = resp.Body.Close()
		}
		asked <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: got %v", err)
	}
	<-left
	if err := <-asked; err == nil {
		t.Error("a request that was cut had an answer")
	}
	select {
	case <-s.Done():
		t.Error("Done tells of an end that was asked for")
	default:
	}
}

func TestNewLogger(t *testing.T) {
	t.Parallel()
	var text, lines bytes.Buffer
	for _, log := range []*slog.Logger{NewLogger(&text, true, slog.LevelWarn), NewLogger(&lines, false, slog.LevelWarn)} {
		log.Info("too quiet")
		log.Warn("heard", "device", "r1")
	}
	if got := text.String(); !strings.HasSuffix(got, "level=WARN msg=heard device=r1\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("terminal: got %q", got)
	}
	var record map[string]any
	if err := json.Unmarshal(lines.Bytes(), &record); err != nil || record["msg"] != "heard" || record["device"] != "r1" {
		t.Errorf("file: got %q, %v", lines.String(), err)
	}
}
