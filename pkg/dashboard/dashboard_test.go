package dashboard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("page " + r.URL.Path)) })
	h := New(map[string]http.Handler{QueuesPath: page})
	for _, tc := range []struct {
		method, path, site string
		code               int
		body               string
	}{
		{"GET", "/", "", http.StatusFound, ""},
		{"GET", "/queues", "", http.StatusOK, "page /queues"},
		{"GET", "/queues/api/queues", "cross-site", http.StatusOK, "page /queues/api/queues"},
		{"POST", "/queues/x", "same-origin", http.StatusOK, "page /queues/x"},
		{"POST", "/queues/x", "cross-site", http.StatusForbidden, ""},
		{"GET", "/other", "", http.StatusNotFound, ""},
	} {
		r := httptest.NewRequest(tc.method, tc.path, nil)
		if tc.site != "" {
			r.Header.Set("Sec-Fetch-Site", tc.site)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.body) {
			t.Errorf("%s %s from %q: %d %q", tc.method, tc.path, tc.site, w.Code, w.Body)
		}
		if p := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'self'") || strings.Contains(p, "http") {
			t.Errorf("%s %s: policy %q", tc.method, tc.path, p)
		}
	}
}
