package dashboard

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// Row is one device of a picture.
type Row struct {
	*record

	Stale bool
	rank  int8  // how much it needs somebody, from 0
	from  int64 // Since in unix seconds, at hand for sorting
}

// ID is the device's.
func (r Row) ID() string { return r.device.ID }

// Device is the registry's record.
func (r Row) Device() *device.Device { return &r.device }

// Status is the word for it.
func (r Row) Status() backup.Status { return r.status }

// Since is from when the age of its backups counts.
func (r Row) Since() time.Time { return r.since }

// State is what is known of its backups.
func (r Row) State() *backup.State { return &r.state }

// Reason is what is wrong, "" where nothing is.
func (r Row) Reason() string {
	reason, _ := r.state.Advice(r.device.ID)
	return reason
}

// Command is what helps, "" where nothing is wrong.
func (r Row) Command() string {
	_, command := r.state.Advice(r.device.ID)
	return command
}

// Counts is how many devices stand how. Stale ones are counted in their status too.
type Counts struct{ All, OK, Failing, Blocked, Pending, Stale int }

func (c *Counts) add(r Row) {
	c.All++
	switch r.status {
	case backup.StatusOK:
		c.OK++
	case backup.StatusFailing:
		c.Failing++
	case backup.StatusBlocked:
		c.Blocked++
	case backup.StatusPending:
		c.Pending++
	}
	if r.Stale {
		c.Stale++
	}
}

// SiteSum is the devices of one site together.
type SiteSum struct {
	Site device.Site
	Counts
	Oldest Row // whose backup is the oldest, where there is a device
}

// Picture is the fleet at one moment. It never changes.
type Picture struct {
	At     time.Time
	Ready  bool
	Rows   []Row     // worst first
	Sites  []SiteSum // by name
	All    Counts
	Paused []backup.Breaker // credentials, by name
	bySite map[string]int
}

func paused(breakers map[string]backup.Breaker) []backup.Breaker {
	byName := backup.PausedCredentials(breakers)
	var out []backup.Breaker
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

// paint fills the picture; sites without a device are in it too.
func (p *Picture) paint(records []*record, sites []device.Site) {
	p.Rows, p.bySite = make([]Row, 0, len(records)), map[string]int{}
	for _, s := range sites {
		p.Sites = append(p.Sites, SiteSum{Site: s})
	}
	named := map[string]bool{}
	for _, s := range sites {
		named[s.Name] = true
	}
	for _, r := range records {
		p.Rows = append(p.Rows, newRow(r, p.At))
		if s := r.device.Site; !named[s] {
			named[s] = true
			p.Sites = append(p.Sites, SiteSum{Site: device.Site{Name: s}})
		}
	}
	slices.SortFunc(p.Rows, worst)
	slices.SortFunc(p.Sites, func(a, b SiteSum) int { return cmp.Compare(a.Site.Name, b.Site.Name) })
	for i := range p.Sites {
		p.bySite[p.Sites[i].Site.Name] = i
	}
	for i := range p.Rows {
		r := p.Rows[i]
		sum := &p.Sites[p.bySite[r.device.Site]]
		sum.add(r)
		p.All.add(r)
		if sum.Oldest.record == nil || r.from < sum.Oldest.from {
			sum.Oldest = r
		}
	}
}

func newRow(r *record, now time.Time) Row {
	if r == nil {
		return Row{}
	}
	row := Row{record: r, Stale: now.After(r.stale), from: r.since.Unix()}
	row.rank = rank(r.status, row.Stale)
	return row
}

func rank(status backup.Status, stale bool) int8 {
	switch {
	case status == backup.StatusBlocked:
		return 0
	case status == backup.StatusFailing && stale:
		return 1
	case stale:
		return 2
	case status == backup.StatusFailing:
		return 3
	case status == backup.StatusPending:
		return 4
	}
	return 5
}

// troubled says whether somebody should look at the device.
func (r Row) troubled() bool { return r.rank < 4 }

// worst puts first what needs somebody most, and among equals the oldest backup.
func worst(a, b Row) int {
	if c := cmp.Compare(a.rank, b.rank); c != 0 {
		return c
	}
	if c := cmp.Compare(a.from, b.from); c != 0 {
		return c
	}
	return strings.Compare(a.device.ID, b.device.ID)
}

// Filter says which devices a list has; empty fields take all.
type Filter struct{ Site, Status, Kind, Text string }

// statusStale is a status of filters alone: it goes across the others.
const statusStale = "stale"

// takes says whether the list has the device; f.Text is in lower case.
func (f Filter) takes(r Row) bool {
	switch {
	case f.Site != "" && r.device.Site != f.Site,
		f.Kind != "" && string(r.state.Kind) != f.Kind,
		f.Status == statusStale && !r.Stale,
		f.Status != "" && f.Status != statusStale && string(r.status) != f.Status:
		return false
	}
	return f.Text == "" || strings.Contains(r.haystack, f.Text)
}

// list is the page-th (from 0) of the pages of n rows that the filter takes, and how many it takes in all.
func (p *Picture) list(f Filter, page, n int) (rows []Row, all int) {
	f.Text = strings.ToLower(strings.TrimSpace(f.Text))
	for _, r := range p.Rows {
		if !f.takes(r) {
			continue
		}
		if all >= page*n && len(rows) < n {
			rows = append(rows, r)
		}
		all++
	}
	return rows, all
}

// trouble are the first n devices that somebody should look at.
func (p *Picture) trouble(n int) []Row {
	for i, r := range p.Rows {
		if i == n || !r.troubled() {
			return p.Rows[:i]
		}
	}
	return p.Rows
}

// worstSites are the n sites with the largest part of devices in trouble, worst first.
func (p *Picture) worstSites(n int) []SiteSum {
	out := slices.Clone(p.Sites)
	slices.SortStableFunc(out, func(a, b SiteSum) int { return cmp.Compare(b.trouble(), a.trouble()) })
	return out[:min(n, len(out))]
}

// trouble is the share of devices that are blocked, failing or stale.
func (c Counts) trouble() float64 {
	return float64(c.Blocked+c.Failing+c.Stale) / float64(max(c.All, 1))
}
