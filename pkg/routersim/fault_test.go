package routersim

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func faulty(t *testing.T, f Fault) *Router {
	t.Helper()
	r := one(t, "7.15.3")
	if err := r.SetFault(f); err != nil {
		t.Fatal(err)
	}
	if r.Fault() != f {
		t.Fatalf("fault is %v", r.Fault())
	}
	return r
}

// TestSpoiledExports checks the faults whose output ends with exit status 0 and a clean close, which run insists on.
func TestSpoiledExports(t *testing.T) {
	t.Parallel()
	const end = marker + "\r\n"
	for _, c := range []struct {
		fault Fault
		check func(out, good string) bool
	}{
		{CutMidExport, func(out, good string) bool {
			return len(out) > len(good)/3 && len(out) < len(good)*2/3 && !strings.HasSuffix(out, "\n") && !strings.Contains(out, marker)
		}},
		{Interrupted, func(out, _ string) bool {
			return strings.HasSuffix(out, "\r\n#error exporting /ip socks\r\n#interrupted\r\n")
		}},
		{ErrorExportingTimeout, func(out, good string) bool {
			const line = "#error exporting \"/ip/upnp\" (timeout)\r\n"
			rest := strings.Replace(out, line, "", 1)
			return strings.Contains(out, "\r\n"+line+"/") && settled(rest) == settled(good)+end
		}},
		{StandingGap, func(out, good string) bool {
			return settled(out) == settled(good)+"#error exporting \"/system/routerboard/mode-button\"\r\n"+end
		}},
		{ErrorText, func(out, _ string) bool { return out == "not enough permissions (9)\r\n" }},
		{WindowCut, func(out, good string) bool {
			return len(out) > len(good)/3 && len(out) < len(good)*2/3 && !strings.HasSuffix(out, "\n")
		}},
		{HiddenSecrets, func(out, good string) bool {
			return !strings.Contains(out, "pw-") && strings.HasSuffix(out, end) && len(out) > len(good)*2/3
		}},
		{MarkerRefused, func(out, _ string) bool { return out == "syntax error (line 1 column 23)\r\n" }},
		{LoginBanner, func(out, good string) bool {
			rest, ok := strings.CutPrefix(out, bannerFault)
			return ok && settled(rest) == settled(good)+end
		}},
		{Huge, func(out, good string) bool { return settled(out) == settled(good)+end && len(out) > 4_000_000 }},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			t.Parallel()
			r := faulty(t, c.fault)
			out := run(t, r, marked(r))
			if !c.check(out, r.Export()) {
				t.Errorf("%d bytes, ending %q", len(out), out[max(0, len(out)-200):])
			}
			if err := r.SetFault(NoFault); err != nil {
				t.Fatal(err)
			}
			if out := run(t, r, marked(r)); settled(out) != settled(r.Export())+end || len(out) > 130_000 {
				t.Error("the fault outlives itself")
			}
		})
	}
}

// TestWindowCutOfLargeExports cuts where a window of 64 KB is full.
func TestWindowCutOfLargeExports(t *testing.T) {
	t.Parallel()
	r := start(t, Options{Versions: []string{"7.15.3"}, Size: 300_000}).Routers()[0]
	if err := r.SetFault(WindowCut); err != nil {
		t.Fatal(err)
	}
	if n := len(run(t, r, marked(r))); n < windowCutFault || n > windowCutFault+10 {
		t.Errorf("%d bytes", n)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	r := faulty(t, WrongPassword)
	if _, err := dial(t, r, password(testPassword)); err == nil {
		t.Error("the right password was let in")
	}
}

func TestSilentAfterAccept(t *testing.T) {
	t.Parallel()
	r := faulty(t, SilentAfterAccept)
	conn, err := net.DialTimeout("tcp", endpoint(r), testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var e net.Error
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.As(err, &e) || !e.Timeout() {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
}

// begin starts the export and reads its first n bytes.
func begin(t *testing.T, r *Router, n int) (*ssh.Client, io.Reader) {
	t.Helper()
	c, err := dial(t, r, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(marked(r)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	return c, out
}

func TestStallMidExport(t *testing.T) {
	t.Parallel()
	r := faulty(t, StallMidExport)
	c, _ := begin(t, r, len(r.Export())/3)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	half := func(s Session) bool { return s.Bytes > 1000 && s.Bytes < int64(len(r.Export()))*2/3 }
	if err := r.fleet.WaitSessions(ctx, func(s []Session) bool { return s[0].Open && half(s[0]) }); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := r.fleet.WaitSessions(ctx, func(s []Session) bool { return !s[0].Open && half(s[0]) }); err != nil {
		t.Error("the session outlives its client:", err)
	}
}

func TestSlow(t *testing.T) {
	t.Parallel()
	r := faulty(t, Slow)
	from := time.Now()
	c, _ := begin(t, r, 3*slowSize)
	if took := time.Since(from); took < 2*slowInterval {
		t.Errorf("%d bytes after %v: not slow", 3*slowSize, took)
	}
	_ = c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := r.fleet.WaitSessions(ctx, func(s []Session) bool { return !s[0].Open }); err != nil {
		t.Error("the session outlives its client:", err)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	const delay = 150 * time.Millisecond
	r.SetDelay(delay)
	from := time.Now()
	run(t, r, "/export")
	if took := time.Since(from); took < delay {
		t.Errorf("the first byte came after %v", took)
	}
}

func TestDelayEndsWithItsClient(t *testing.T) {
	t.Parallel()
	r := one(t, "7.15.3")
	r.SetDelay(time.Hour)
	c, _ := begin(t, r, 0)
	_ = c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := r.fleet.WaitSessions(ctx, func(s []Session) bool { return !s[0].Open && s[0].Bytes == 0 }); err != nil {
		t.Error("the session outlives its client:", err)
	}
}
