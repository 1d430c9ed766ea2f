package dashboard

import "net/http"

// audited records what operators ask of the queues' own dashboard before it hears of it, and keeps what others ask from it.
func (p *pages) audited(monitor http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			monitor.ServeHTTP(w, r)
			return
		}
		u := UserOf(r.Context())
		if u.Role != RoleOperator {
			http.Error(w, errViewer.Error(), http.StatusForbidden)
			return
		}
		if err := p.Auditor.Audit(r.Context(), Action{By: u.Name, What: "queues " + r.Method + " " + r.URL.Path}); err != nil {
			p.Log.Warn("action at the queues not recorded, and not done", "by", u.Name, "err", err)
			http.Error(w, "not done, for it could not be recorded: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		monitor.ServeHTTP(w, r)
	})
}
