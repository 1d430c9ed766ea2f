// Package dashboard is the pages that people look at: the fleet, its sites and devices, what changed, and beside them the
// queues' own dashboard. It knows what watches have brought into memory, and acts only for operators.
// Login, in front of it, says who a request comes from.
package dashboard

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/confhaul/confhaul/pkg/device"
)

// Where things are served.
const (
	QueuesPath = "/queues"  // the queues' own dashboard, and all below it
	StaticPath = "/static/" // style and script, which tell nothing of the fleet
)

const (
	// policy lets our pages load from their own host only, and nothing inline.
	policy = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
	// queuesPolicy is looser: inline styles and scripts are what asynqmon's page is made of. Foreign hosts are kept out too.
	queuesPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)

// Queues says what stands in the queues of sites.
type Queues interface {
	Counts(ctx context.Context, sites []string) (map[string]map[string]int, error) // tasks by state
	Limits(ctx context.Context, sites []string) (map[string]device.Limits, error)  // in force
	ServedSites() (map[string]bool, error)                                         // that have a worker
}

// Operations is what operators can have done.
type Operations interface {
	// Backup asks for a backup of a device now; the error says why it would not be made.
	Backup(ctx context.Context, d device.Device, by string) error
	// Unblock lifts a device's block.
	Unblock(ctx context.Context, d device.Device) error
	// PauseSite and ResumeSite end and begin the handing out of a site's tasks.
	PauseSite(ctx context.Context, site, reason, by string) error
	ResumeSite(ctx context.Context, site string) error
	// ResumeCredential ends the pause of a credential.
	ResumeCredential(ctx context.Context, name string) error
}

// Options are what the pages are made of. All but Monitor are required.
type Options struct {
	Fleet      *Fleet
	Queues     Queues
	History    History
	Operations Operations
	Auditor    Auditor
	Connected  func() bool  // whether what the fleet knows is kept up
	SiteLimit  int          // of sites that have none of their own
	Monitor    http.Handler // served below QueuesPath; nil: there is none
	Log        *slog.Logger
}

// pages is the handler with its parts.
type pages struct {
	Options
	queues *queueCache
}

// New serves the pages, to be put behind a Login, which keeps pages of other origins from them.
func New(o Options) http.Handler {
	p := &pages{Options: o, queues: &queueCache{source: o.Queues}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.overview)
	mux.HandleFunc("GET /devices", p.devices)
	mux.HandleFunc("GET /device", p.device)
	mux.HandleFunc("GET /diff", p.diff)
	mux.HandleFunc("POST /diff", p.diff) // with secrets: it leaves a trace, and no link leads there
	mux.HandleFunc("GET /sites", p.sites)
	mux.HandleFunc("GET /site", p.site)
	mux.HandleFunc("GET /changes", p.changes)
	mux.HandleFunc("POST /act", p.act)
	mux.Handle("GET "+StaticPath+"{file}", serveStatic())
	mux.HandleFunc("/", p.unknown)
	own := limited(policy, mux)
	if o.Monitor == nil {
		return own
	}
	root, monitor := http.NewServeMux(), limited(queuesPolicy, p.audited(o.Monitor))
	root.Handle("/", own)
	root.Handle(QueuesPath, monitor)
	root.Handle(QueuesPath+"/", monitor)
	return root
}

// limited tells browsers what a page may load and run.
func limited(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		next.ServeHTTP(w, r)
	})
}
