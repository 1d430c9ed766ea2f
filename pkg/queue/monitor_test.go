package queue

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/device"
)

// TestMonitorIsReadOnly looks at a queue and fails to change it.
func TestMonitorIsReadOnly(t *testing.T) {
	t.Parallel()
	c, url := newTestClient(t)
	ctx := ctxFor(t)
	setLimit(t, c, "riga", device.Unlimited)
	if _, err := c.EnsureNow(ctx, "riga", task("r1"), false); err != nil {
		t.Fatal(err)
	}
	h, closeMonitor, err := Monitor(Address{URL: url}, "/queues", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeMonitor(); err != nil {
			t.Error(err)
		}
	})
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := ask("GET", "/queues/api/queues/riga/pending_tasks"); code != http.StatusOK || !strings.Contains(body, "backup:r1") {
		t.Errorf("pending tasks: %d %s", code, body)
	}
	if code, body := ask("GET", "/queues"); code != http.StatusOK || !strings.Contains(body, "<html") {
		t.Errorf("page: %d %.80s", code, body)
	}
	for method, path := range map[string]string{"POST": "/queues/api/queues/riga:pause", "DELETE": "/queues/api/queues/riga/pending_tasks/backup:r1"} {
		if code, _ := ask(method, path); code != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", method, path, code)
		}
	}
}
