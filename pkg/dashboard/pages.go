package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// How many of each thing a page has.
const (
	overviewTrouble = 10
	overviewSites   = 12
	overviewChanges = 10
	devicesPage     = 50
	sitesPage       = 50
	siteTrouble     = 30
	siteChanges     = 20
	versionsMax     = 25
	requestAge      = 24 * time.Hour // for how long a request waits for its backup
)

// siteLine is one site on a page.
type siteLine struct {
	SiteSum
	Queue    Queue
	Windows  []string
	Open     bool
	NextOpen time.Time // of closed windows
}

func (p *pages) siteLines(sums []SiteSum, q queueView, now time.Time) []siteLine {
	out := make([]siteLine, 0, len(sums))
	for _, sum := range sums {
		l := siteLine{SiteSum: sum, Queue: q.of(sum.Site, p.SiteLimit), Open: sum.Site.Windows.Open(now)}
		for _, w := range sum.Site.Windows {
			l.Windows = append(l.Windows, w.String())
		}
		if !l.Open {
			l.NextOpen, _ = sum.Site.Windows.Next(now)
		}
		out = append(out, l)
	}
	return out
}

func (p *pages) overview(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	pic := p.Fleet.Picture(now)
	q := p.queues.look(r.Context(), pic.Sites)
	type body struct {
		Picture     *Picture
		Trouble     []Row
		TroubleMore bool
		Sites       []siteLine
		PausedSites []siteLine
		Unserved    []string
		Changes     []backup.Diff
		Resume      doing
	}
	b := body{Picture: pic, Trouble: pic.trouble(overviewTrouble + 1), Changes: p.Fleet.recent("", overviewChanges), Resume: doResumeCredential}
	if b.TroubleMore = len(b.Trouble) > overviewTrouble; b.TroubleMore {
		b.Trouble = b.Trouble[:overviewTrouble]
	}
	b.Sites = p.siteLines(pic.worstSites(overviewSites), q, now)
	for _, sum := range pic.Sites {
		if sum.Site.Paused != nil {
			b.PausedSites = append(b.PausedSites, siteLine{SiteSum: sum})
		}
		if q.err == nil && sum.All > 0 && !q.served[sum.Site.Name] {
			b.Unserved = append(b.Unserved, sum.Site.Name)
		}
	}
	p.show(w, r, view{Title: "Fleet", Nav: "/", Page: "overview", Body: b, queues: q.err, Live: true})
}

func (p *pages) devices(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f := Filter{Site: query.Get("site"), Status: query.Get("status"), Kind: query.Get("kind"), Text: query.Get("q")}
	pic := p.Fleet.Picture(time.Now())
	at := pageOf(query)
	rows, all := pic.list(f, at, devicesPage)
	p.show(w, r, view{Title: "Devices", Nav: "/devices", Page: "devices", Live: true, Body: struct {
		Picture  *Picture
		Filter   Filter
		Statuses []string
		Kinds    []fault.Kind
		Rows     []Row
		All      int
		Pager    pager
	}{pic, f, []string{"blocked", "failing", statusStale, "pending", "ok"}, fault.Kinds(), rows, all, newPager(r.URL, at, devicesPage, all)}})
}

func (p *pages) sites(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	pic := p.Fleet.Picture(now)
	q := p.queues.look(r.Context(), pic.Sites)
	at, n := pageOf(r.URL.Query()), len(pic.Sites)
	some := pic.Sites[min(at*sitesPage, n):min((at+1)*sitesPage, n)]
	p.show(w, r, view{Title: "Sites", Nav: "/sites", Page: "sites", queues: q.err, Live: true, Body: struct {
		Sites []siteLine
		All   int
		Pager pager
	}{p.siteLines(some, q, now), n, newPager(r.URL, at, sitesPage, n)}})
}

func (p *pages) site(w http.ResponseWriter, r *http.Request) {
	now, name := time.Now(), r.URL.Query().Get("name")
	pic := p.Fleet.Picture(now)
	i, ok := pic.bySite[name]
	if !ok {
		p.fail(w, r, http.StatusNotFound, fmt.Errorf("site %q: %w", name, errUnknown))
		return
	}
	sum := pic.Sites[i]
	sum.Site.Paused = p.Fleet.site(name).Paused // whoever has just changed it sees that
	q := p.queues.look(r.Context(), pic.Sites)
	rows, all := pic.list(Filter{Site: name}, 0, siteTrouble)
	p.show(w, r, view{Title: name, Nav: "/sites", Page: "site", queues: q.err, Live: true, Body: struct {
		Site          siteLine
		Rows          []Row
		All           int
		Changes       []backup.Diff
		Pause, Resume doing
	}{p.siteLines([]SiteSum{sum}, q, now)[0], rows, all, p.Fleet.recent(name, siteChanges), doPause, doResume}})
}

func (p *pages) changes(w http.ResponseWriter, r *http.Request) {
	p.show(w, r, view{Title: "Changes", Nav: "/changes", Page: "changes", Live: true, Body: p.Fleet.recent(r.URL.Query().Get("site"), changesMax)})
}

func (p *pages) device(w http.ResponseWriter, r *http.Request) {
	now, id := time.Now(), r.URL.Query().Get("id")
	row, ok := p.Fleet.device(id, now)
	if !ok {
		p.fail(w, r, http.StatusNotFound, fmt.Errorf("device %q: %w in the inventory, or it is disabled", id, errUnknown))
		return
	}
	type body struct {
		Row
		Waiting         *backup.Request // for its backup
		Running         *backup.Running
		Versions        []Version
		History         error
		Backup, Unblock doing
	}
	b := body{Row: row, Backup: doBackup, Unblock: doUnblock}
	if q := row.request; q.ID != "" && !q.ServedBy(row.state) && now.Sub(q.At) < requestAge {
		b.Waiting = &q
	}
	if row.state.Running.Live(now) {
		b.Running = row.state.Running
	}
	b.Versions, b.History = p.History.Versions(r.Context(), id, versionsMax)
	p.show(w, r, view{Title: id, Nav: "/devices", Page: "device", Live: true, Body: b})
}

// diff shows what differs between two versions, secrets masked; with secrets where an operator posts that.
func (p *pages) diff(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formMax)
	id := r.FormValue("id")
	from, err := strconv.Atoi(r.FormValue("from"))
	to, toErr := strconv.Atoi(r.FormValue("to"))
	if err = errors.Join(err, toErr); err != nil || device.CheckID(id) != nil {
		p.fail(w, r, http.StatusBadRequest, errors.New("a difference has a device and the numbers of two versions"))
		return
	}
	secrets := r.Method == http.MethodPost
	if secrets {
		user := UserOf(r.Context())
		if user.Role != RoleOperator {
			p.fail(w, r, http.StatusForbidden, errViewer)
			return
		}
		row, _ := p.Fleet.device(id, time.Now())
		a := Action{By: user.Name, What: "show-secrets", Device: id}
		if row.record != nil {
			a.Site = row.device.Site
		}
		if err := p.Auditor.Audit(r.Context(), a); err != nil {
			p.fail(w, r, http.StatusServiceUnavailable, fmt.Errorf("not shown, for it could not be recorded: %w", err))
			return
		}
	}
	d, err := p.History.Diff(r.Context(), id, from, to, secrets)
	if err != nil {
		status := http.StatusNotFound
		if fault.KindOf(err) == fault.Infrastructure { // it may be there, and is not to be had now
			status = http.StatusServiceUnavailable
		}
		p.fail(w, r, status, err)
		return
	}
	lines, left := diffLines(d.Text)
	p.show(w, r, view{Title: fmt.Sprintf("%s @%d to @%d", id, from, to), Nav: "/devices", Page: "diff", Body: struct {
		ID      string
		Diff    Diff
		Lines   []line
		Left    int
		Secrets bool
	}{id, d, lines, left, secrets}})
}

func (p *pages) unknown(w http.ResponseWriter, r *http.Request) {
	p.fail(w, r, http.StatusNotFound, errors.New("there is no such page"))
}

// pager leads through the pages of a list.
type pager struct {
	Page, Pages    int    // from 1
	Previous, Next string // "" where there is none
}

func newPager(u *url.URL, at, n, all int) pager {
	link := func(page int) string {
		q := u.Query()
		q.Set("page", strconv.Itoa(page))
		return u.Path + "?" + q.Encode()
	}
	g := pager{Page: at + 1, Pages: max((all+n-1)/n, 1)}
	if at > 0 {
		g.Previous = link(min(at, g.Pages))
	}
	if g.Page < g.Pages {
		g.Next = link(at + 2)
	}
	return g
}

// pageOf is the page that is asked for, from 0.
func pageOf(q url.Values) int {
	const most = 1 << 20
	n, err := strconv.Atoi(q.Get("page"))
	if err != nil {
		return 0
	}
	return min(max(n, 1), most) - 1
}
