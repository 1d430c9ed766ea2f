package dashboard

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

const (
	changesMax    = 200              // changes of configurations that are remembered
	pictureMin    = time.Second      // how old a picture may be when something changed since
	pictureMax    = 10 * time.Second // and when nothing did: backups age by themselves
	awaitInterval = 20 * time.Millisecond
)

// record is what is known of one device. It is replaced as a whole, so that pictures may keep it.
type record struct {
	device  device.Device // without ID: only its state has come yet
	state   backup.State
	request backup.Request

	// What pictures and lists need of each device, made once.
	status   backup.Status
	since    time.Time // from when the age of its backups counts: the last proven one, or when it was first seen
	stale    time.Time // when it becomes stale
	haystack string    // what a text is looked for in, in lower case
}

// settle makes what follows from the rest of the record.
func (r *record) settle(usual time.Duration) {
	r.status = r.state.Status()
	if r.since = r.state.Believed(time.Now()).GoodStarted; r.since.IsZero() {
		r.since = r.device.FirstSeen
	}
	r.stale = r.since.Add(backup.StaleAfter(r.device.Interval, usual))
	r.haystack = strings.ToLower(strings.Join([]string{
		r.device.ID, r.device.Name, r.device.Address, r.state.Identity, r.state.Version, r.state.Reason,
	}, "\n"))
}

// Fleet is what is known of all devices, in memory: what watches bring is applied to it, and pages are made of pictures of
// it. A page costs what it shows, and once a second one look at every device, however many people look.
type Fleet struct {
	usual time.Duration // between two backups of a device that has no interval of its own

	mu       sync.RWMutex
	ready    bool
	moved    bool                   // since the last picture
	records  map[string]*record     // by key
	byID     map[string]*record     // devices that are enabled
	sites    map[string]device.Site // by name
	breakers map[string]backup.Breaker
	changes  []backup.Diff // newest last, at most changesMax

	painting sync.Mutex // held while a picture is made
	picture  *Picture   // under mu
}

// NewFleet knows nothing yet; usual is the interval of the settings.
func NewFleet(usual time.Duration) *Fleet {
	return &Fleet{usual: usual, records: map[string]*record{}, byID: map[string]*record{}, sites: map[string]device.Site{}, breakers: map[string]backup.Breaker{}}
}

// Apply takes in a record that came, changed or went.
func (f *Fleet) Apply(c backup.Change) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moved = true
	switch c.Bucket {
	case backup.BucketSites:
		name, err := device.Decode(c.Key)
		if c.Deleted && err == nil {
			delete(f.sites, name)
		} else if !c.Deleted {
			f.sites[c.Site.Name] = c.Site
		}
		return nil
	case backup.BucketCredentials:
		if c.Deleted {
			delete(f.breakers, c.Key)
		} else {
			f.breakers[c.Key] = c.Breaker
		}
		return nil
	}
	f.applyDevice(c)
	return nil
}

func (f *Fleet) applyDevice(c backup.Change) {
	next := record{}
	if known := f.records[c.Key]; known != nil {
		next = *known
		if id := known.device.ID; f.byID[id] == known { // it may stand under the key of another site by now
			delete(f.byID, id)
		}
	}
	switch c.Bucket {
	case backup.BucketDevices:
		next.device = c.Device
	case backup.BucketState:
		next.state = c.State
	case backup.BucketRequests:
		next.request = c.Request
	}
	if c.Deleted && next.device.ID == "" && next.state.Status() == backup.StatusPending && next.request.ID == "" {
		delete(f.records, c.Key)
		return
	}
	next.settle(f.usual)
	f.records[c.Key] = &next
	_, elsewhere := f.byID[next.device.ID] // under the key of another site, where the device has moved to
	if next.device.ID != "" && next.device.Enabled && (c.Bucket == backup.BucketDevices || !elsewhere) {
		f.byID[next.device.ID] = &next
	}
}

// Ready says that all that stood in the registry has come.
func (f *Fleet) Ready() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready, f.moved = true, true
}

// Changed takes in a change of a device's configuration.
func (f *Fleet) Changed(d backup.Diff) error {
	d.Changes, d.Text = nil, "" // pages show the words
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.changes); n >= changesMax {
		f.changes = slices.Delete(f.changes, 0, n-changesMax+1)
	}
	f.changes = append(f.changes, d)
	return nil
}

// recent are the newest n changes of a site, or of all where it is "", newest first.
func (f *Fleet) recent(site string, n int) []backup.Diff {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []backup.Diff
	for i := len(f.changes) - 1; i >= 0 && len(out) < n; i-- {
		if site == "" || f.changes[i].Site == site {
			out = append(out, f.changes[i])
		}
	}
	return out
}

// device finds an enabled device by its id, as it is at this moment.
func (f *Fleet) device(id string, now time.Time) (Row, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	r, ok := f.byID[id]
	return newRow(r, now), ok
}

// Picture is the fleet as it is now, or was a second ago.
func (f *Fleet) Picture(now time.Time) *Picture {
	if p := f.current(now); p != nil {
		return p
	}
	f.painting.Lock()
	defer f.painting.Unlock()
	if p := f.current(now); p != nil { // another one painted meanwhile
		return p
	}
	f.mu.Lock()
	f.moved = false
	p := &Picture{At: now, Ready: f.ready}
	records := slices.AppendSeq(make([]*record, 0, len(f.byID)), maps.Values(f.byID))
	sites := make([]device.Site, 0, len(f.sites))
	for _, s := range f.sites {
		sites = append(sites, s)
	}
	p.Paused = paused(f.breakers)
	f.mu.Unlock()
	p.paint(records, sites)
	f.mu.Lock()
	f.picture = p
	f.mu.Unlock()
	return p
}

// current is the last picture where it may still be shown.
func (f *Fleet) current(now time.Time) *Picture {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.picture == nil || f.picture.Ready != f.ready {
		return nil
	}
	if age := now.Sub(f.picture.At); age < pictureMin || !f.moved && age < pictureMax {
		return f.picture
	}
	return nil
}

// await looks until ok or ctx ends, so that whoever acted sees what came of it.
func (f *Fleet) await(ctx context.Context, ok func() bool) {
	tick := time.NewTicker(awaitInterval)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// known is a device's record as it is at this moment, nil where there is none.
func (f *Fleet) known(key string) *record {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.records[key]
}

// site is a site's record as it is at this moment.
func (f *Fleet) site(name string) device.Site {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.sites[name]
}

// pausedNow says whether a credential is paused at this moment.
func (f *Fleet) pausedNow(name string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_, ok := backup.PausedCredentials(f.breakers)[name]
	return ok
}
