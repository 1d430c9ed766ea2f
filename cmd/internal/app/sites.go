package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/queue"
	"github.com/confhaul/confhaul/pkg/state"
)

// SiteView is a site with what stands in its queue.
type SiteView struct {
	Site    device.Site
	InForce *device.Limits // what Redis holds the site to; nil: nothing is known there, and nothing is handed out
	Devices int            // enabled ones
	Tasks   map[string]int // by state of asynq
}

// Sites lists the sites that have a record or a device, by name.
func (p *Parts) Sites(ctx context.Context) ([]SiteView, error) {
	sites, err := p.Store.Sites(ctx)
	if err != nil {
		return nil, err
	}
	devices, err := p.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	views := map[string]*SiteView{}
	for _, s := range sites {
		views[s.Name] = &SiteView{Site: s}
	}
	for _, d := range devices {
		v := views[d.Site]
		if v == nil {
			v = &SiteView{Site: device.Site{Name: d.Site}}
			views[d.Site] = v
		}
		if d.Enabled {
			v.Devices++
		}
	}
	names := make([]string, 0, len(views))
	for name := range views {
		names = append(names, name)
	}
	slices.Sort(names)
	limits, err := p.Queue.Limits(ctx, names)
	if err != nil {
		return nil, err
	}
	tasks, err := p.Queue.Counts(ctx, names)
	if err != nil {
		return nil, err
	}
	out := make([]SiteView, 0, len(names))
	for _, name := range names {
		v := *views[name]
		v.Tasks = tasks[name]
		if l, ok := limits[name]; ok {
			v.InForce = &l
		}
		out = append(out, v)
	}
	return out, nil
}

// AmendSite changes a site's record by compare-and-set; every scheduler sees it at once and brings it into force. A site
// with neither a record nor a device is refused: it is a slip of the pen.
func (p *Parts) AmendSite(ctx context.Context, name string, change func(*device.Site)) error {
	for {
		s, revision, err := p.Store.Site(ctx, name)
		if err != nil {
			return err
		}
		if revision == 0 {
			if err := p.checkInhabited(ctx, name); err != nil {
				return err
			}
			s = device.Site{Name: name}
		}
		change(&s)
		if _, err = p.Store.PutSite(ctx, s, revision); !errors.Is(err, backup.ErrConflict) {
			return err
		}
	}
}

func (p *Parts) checkInhabited(ctx context.Context, name string) error {
	devices, err := p.Store.Devices(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(devices, func(d device.Device) bool { return d.Site == name }) {
		return fault.New(fault.Rejected, "change site", "%s is not known: no device is on it (see confhaul site list)", name)
	}
	return nil
}

// Operator names who runs this command, for records that people read.
func Operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = cmp.Or(u.Username, u.Uid)
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// windowSlack is how far clocks may differ: a task that comes this much before its window opens is not turned away.
const windowSlack = 2 * time.Second

// withinWindows lets tasks of a closed window go, but for those that somebody asked for. Nothing is counted and nothing is
// written: a scheduler has the device's next run at the opening, and makes the task again.
func withinWindows(known *state.Latest, run queue.Handler) queue.Handler {
	return func(ctx context.Context, site string, t backup.Task) (backup.Next, error) {
		closed, err := closed(ctx, known, site, t, time.Now())
		switch {
		case err != nil:
			return backup.Next{Action: backup.Again, Delay: backup.InfrastructureDelay}, fmt.Errorf("look at window: %w", err)
		case closed:
			return backup.Next{Action: backup.Done}, nil
		}
		return run(ctx, site, t)
	}
}

// closed looks at the site for each task: what an operator has just changed holds for the next one.
func closed(ctx context.Context, known *state.Latest, site string, t backup.Task, now time.Time) (bool, error) {
	s, _, err := known.Site(ctx, site)
	if err != nil || s.Windows.Open(now) || s.Windows.Open(now.Add(windowSlack)) {
		return false, err
	}
	key := device.Key(site, t.Device)
	request, found, err := known.Request(ctx, key, t.Reason == backup.ReasonRequest)
	if err != nil || !found {
		return err == nil, err
	}
	last, _, err := known.State(ctx, key)
	return request.ServedBy(last), err
}
