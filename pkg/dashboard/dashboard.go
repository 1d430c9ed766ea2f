// Package dashboard puts the pages that people look at under one roof, with headers that keep them to themselves: no foreign
// hosts, no framing.
package dashboard

import "net/http"

// QueuesPath is where the queues' own dashboard is mounted.
const QueuesPath = "/queues"

// policy lets a page load from its own host only. Inline styles and scripts are what asynqmon's page is made of.
const policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"

// New serves each handler below its path, and leads from the front page to the queues.
func New(pages map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	for path, h := range pages {
		mux.Handle(path, h)
		mux.Handle(path+"/", h)
	}
	mux.Handle("GET /{$}", http.RedirectHandler(QueuesPath, http.StatusFound))
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		guarded.ServeHTTP(w, r)
	})
}
