package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/embedded/embeddedtest"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/queue"
)

const (
	// requireChromium set to 1 makes a missing browser a failure.
	requireChromium = "CONFHAUL_REQUIRE_CHROMIUM"
	// screenshotsIn names a directory for pictures of the pages, for people.
	screenshotsIn = "CONFHAUL_SCREENSHOTS"

	browserTimeout = 3 * time.Minute // of everything
	phone, desk    = 390, 1280       // pixels
)

// browser is a Chromium with what it complained of and asked for.
type browser struct {
	*testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	requests   map[network.RequestID]string // that left, by id
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv(requireChromium) == "1" {
			t.Fatalf("chromium is not on PATH and %s=1 is set", requireChromium)
		}
		t.Skip("chromium is not on PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	t.Cleanup(cancel)
	o := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(browserTimeout), // a machine with other work starts it slowly
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	ctx, cancel = chromedp.NewExecAllocator(ctx, o...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{T: t, ctx: ctx, requests: map[network.RequestID]string{}}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, cdplog.Enable, cdp.Empty{})
	return b
}

func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests[e.RequestID] = e.Request.URL
	case *network.EventLoadingFailed:
		if e.BlockedReason == network.BlockedReasonCsp { // it never left
			delete(b.requests, e.RequestID)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			b.complaints = append(b.complaints, fmt.Sprint(e.Args))
		}
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError {
			b.complaints = append(b.complaints, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.Fatal(err)
	}
}

// eval is what an expression gives on the page.
func eval[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// drain gives what was complained of and which hosts were asked for since the last time.
func (b *browser) drain() (complaints []string, hosts map[string]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	complaints, b.complaints = b.complaints, nil
	hosts = map[string]bool{}
	for id, address := range b.requests {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			hosts[u.Host] = true
		}
		delete(b.requests, id)
	}
	return complaints, hosts
}

// until waits for a text on the page.
func (b *browser) until(text string) {
	b.Helper()
	b.run(chromedp.WaitVisible(fmt.Sprintf(`//body//*[contains(text(), %q)]`, text)))
}

// visit opens a page at a width and holds it against what every page must keep to.
func (b *browser) visit(base, path, name string, width int64) {
	b.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width == phone})
	b.run(chromedp.Navigate(base+path), chromedp.WaitVisible(chromedp.CSS("main h1")))
	scroll, inner := eval[int64](b, "document.documentElement.scrollWidth"), eval[int64](b, "window.innerWidth")
	if scroll > inner || inner != width {
		b.Errorf("%s at %d pixels: the page is %d wide in a window of %d", path, width, scroll, inner)
	}
	b.clean(base, path)
	b.shoot(fmt.Sprintf("%s-%d", name, width))
}

func (b *browser) clean(base, path string) {
	b.Helper()
	complaints, hosts := b.drain()
	delete(hosts, strings.TrimPrefix(base, "http://"))
	if len(complaints)+len(hosts) > 0 {
		b.Errorf("%s: the browser says %q, and was led to %v", path, complaints, hosts)
	}
}

func (b *browser) shoot(name string) {
	b.Helper()
	dir := os.Getenv(screenshotsIn)
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// TestBrowser goes through the pages of 10,000 devices in a real browser, on a desk and on a phone, presses a button, and sees
// a page change by itself.
func TestBrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	const devices = 10_000
	l := newLab(t, devices)
	operator := httptest.NewServer(l.as(RoleOperator))
	defer operator.Close()
	viewer := httptest.NewServer(l.as(RoleViewer))
	defer viewer.Close()

	for name, path := range map[string]string{
		"fleet": "/", "devices": "/devices", "blocked": "/devices?status=blocked&kind=hostkey", "sites": "/sites", "site": "/site?name=site-03",
		"device": "/device?id=edge-00007", "hostkey": "/device?id=edge-00008", "no-archive": "/device?id=edge-00001", "diff": "/diff?id=edge-00007&from=2&to=3",
		"changes": "/changes",
	} {
		b.visit(operator.URL, path, name, desk)
		b.visit(operator.URL, path, name, phone)
		if name != "fleet" && name != "device" && name != "site" && name != "diff" {
			continue
		}
		b.visit(viewer.URL, path, "viewer-"+name, desk)
		if n := eval[int](b, "document.querySelectorAll('main form[method=post], main button:not(.filter button)').length"); n > 0 {
			t.Errorf("%s: a viewer has %d buttons", path, n)
		}
	}
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	b.visit(operator.URL, "/", "dark-fleet", desk)
	b.visit(operator.URL, "/diff?id=edge-00007&from=2&to=3", "dark-diff", phone)
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})

	b.visit(operator.URL, "/device?id=edge-00007", "before", phone)
	b.run(chromedp.Click(`//button[text()="Unblock"]`))
	b.until("The block is lifted")
	if text := eval[string](b, "document.body.innerText"); !strings.Contains(text, "✗ failing") && !strings.Contains(text, "✓ ok") || strings.Contains(text, "⊘ blocked") {
		t.Errorf("after the block was lifted the page says\n%s", text)
	}
	b.shoot("unblocked")
	b.clean(operator.URL, "unblock")

	b.run(chromedp.Navigate(operator.URL+"/device?id=edge-00002"), chromedp.WaitVisible(chromedp.CSS("main h1")))
	eval[bool](b, "window.stays = true")
	l.change(device.Key("site-02", "edge-00002"), func(r *record) {
		r.state.Result, r.state.Kind, r.state.Reason = backup.ResultFailed, fault.Timeout, "login: no answer within 20s"
	})
	b.until("login: no answer within 20s")
	if !eval[bool](b, "window.stays === true") {
		t.Error("the page was loaded anew")
	}
	b.clean(operator.URL, "live")
	operator.CloseClientConnections()
	operator.Listener.Close()
	b.until("not reachable")
}

// TestBrowserQueues: asynqmon works under the policy, which keeps its fonts from a foreign host out.
func TestBrowserQueues(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	address := embeddedtest.Redis(t)
	c, err := queue.NewClient(queue.Address{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Ensure(t.Context(), "riga", backup.Task{Device: "edge-7"}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	monitor, closeMonitor, err := queue.Monitor(queue.Address{URL: address}, QueuesPath, false)
	if err != nil {
		t.Fatal(err)
	}
	defer closeMonitor()
	l := newLab(t, 1)
	mux := http.NewServeMux()
	mux.Handle("/", New(Options{Fleet: l.fleet, Queues: l, History: l, Operations: l, Auditor: l, Connected: func() bool { return true }, Monitor: monitor}))
	server := httptest.NewServer(mux)
	defer server.Close()
	b.run(chromedp.Navigate(server.URL + QueuesPath))
	b.until("riga")
	b.shoot("queues")
	_, hosts := b.drain()
	delete(hosts, strings.TrimPrefix(server.URL, "http://"))
	if len(hosts) > 0 {
		t.Errorf("the page of the queues led to %v", hosts)
	}
}
