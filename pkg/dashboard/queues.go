package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
)

const (
	queuesTTL     = 2 * time.Second // how long what was read of the queues is shown to everybody
	queuesTimeout = 2 * time.Second // of reading it
)

// queueView is what stands in the queues.
type queueView struct {
	tasks  map[string]map[string]int
	limits map[string]device.Limits
	served map[string]bool
	err    error // none of it is known
}

// queueCache reads the queues once for all who look.
type queueCache struct {
	source Queues

	mu    sync.Mutex
	at    time.Time
	sites int // that were asked for
	view  queueView
}

func (q *queueCache) look(ctx context.Context, sites []SiteSum) queueView {
	q.mu.Lock()
	defer q.mu.Unlock()
	if time.Since(q.at) < queuesTTL && q.sites == len(sites) {
		return q.view
	}
	names := make([]string, 0, len(sites))
	for i := range sites {
		names = append(names, sites[i].Site.Name)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queuesTimeout) // it is for the others too
	defer cancel()
	q.view = readQueues(ctx, q.source, names)
	q.at, q.sites = time.Now(), len(sites)
	return q.view
}

func readQueues(ctx context.Context, source Queues, names []string) (v queueView) {
	if len(names) == 0 {
		return v
	}
	if v.tasks, v.err = source.Counts(ctx, names); v.err != nil {
		return v
	}
	if v.limits, v.err = source.Limits(ctx, names); v.err != nil {
		return v
	}
	v.served, v.err = source.ServedSites()
	return v
}

// Queue is what a page shows of a site's queue.
type Queue struct {
	Known                             bool
	Pending, Active, Scheduled, Retry int
	Served                            bool // a worker is there
	Limit                             string
	Rate                              float64
}

// of is the queue of a site; fallback is the limit of sites that have none of their own.
func (v queueView) of(s device.Site, fallback int) Queue {
	q := Queue{Known: v.err == nil, Rate: s.Rate}
	tasks := v.tasks[s.Name]
	q.Pending, q.Active, q.Scheduled, q.Retry = tasks["pending"], tasks["active"], tasks["scheduled"], tasks["retry"]
	q.Served = v.served[s.Name]
	unpaused := s
	unpaused.Paused = nil
	n := unpaused.Limits(fallback).Sessions
	if in, ok := v.limits[s.Name]; ok && s.Limit == 0 && s.Paused == nil {
		n = in.Sessions // as the schedulers' settings say
	}
	q.Limit = limitWords(n)
	return q
}

func limitWords(n int) string {
	if n == device.Unlimited {
		return "none"
	}
	return number(n)
}
