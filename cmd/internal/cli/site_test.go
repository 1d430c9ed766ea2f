package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/routersim"
)

// TestSite changes a site of a running up, and looks whether it holds.
func TestSite(t *testing.T) {
	t.Parallel()
	h := newUp(t, routersim.Options{Devices: 2, Seed: 11, Versions: []string{"7.20.2"}})
	site, id := device.DefaultSite, h.fleet.Routers()[0].ID()
	list := func() siteLine {
		t.Helper()
		for _, l := range decode[[]siteLine](t, h.run(exitOK, "site", "list", "-o", "json")) {
			if l.Site == site {
				return l
			}
		}
		t.Fatal("the site is not listed")
		panic("unreachable")
	}
	inForce := func(want siteInForce) {
		t.Helper()
		eventually(t, "the limits to hold", func() bool { l := list(); return l.InForce != nil && *l.InForce == want })
	}
	if all := decode[[]siteLine](t, h.run(exitOK, "site", "list", "-o", "json")); len(all) > 0 {
		site = all[0].Site
	}
	inForce(siteInForce{device.Unlimited, 0})
	if l := list(); l.Limit != device.Unlimited || l.LimitFrom != "settings" || !l.Open || l.Devices == 0 {
		t.Errorf("at first %+v", l)
	}
	if o := h.run(exitOK, "site", "limit", site, "3"); o.out != site+" limit 3\n" {
		t.Errorf("printed %q", o.out)
	}
	h.run(exitOK, "site", "rate", site, "20.5")
	inForce(siteInForce{3, 20.5})

	h.run(exitOK, "site", "pause", site, "--reason", "works on the line")
	inForce(siteInForce{0, 20.5})
	table := h.run(exitOK, "site", "list").out
	if l := list(); l.Paused == nil || l.Paused.Reason != "works on the line" || l.Paused.By == "" || l.Limit != 3 || l.LimitFrom != "own" {
		t.Errorf("paused %+v", l)
	}
	for _, want := range []string{"3 (own)", "20.5/s", "works on the line", "always"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	if o := h.run(exitOK, "status"); !strings.Contains(o.out, "site "+site+" is paused") || !strings.Contains(o.out, "(works on the line)") {
		t.Errorf("status says nothing of the pause:\n%s", o.out)
	}
	h.run(exitOK, "backup", id)
	eventually(t, "the task to wait", func() bool { return list().Pending == 1 })

	// The window is closed, and lets through what somebody asked for.
	from := time.Now().UTC().Add(3 * time.Hour)
	h.run(exitOK, "site", "window", site, from.Format("15:04-")+from.Add(2*time.Hour).Format("15:04"))
	if l := list(); l.Open || l.NextOpen == nil || len(l.Windows) != 1 {
		t.Errorf("closed %+v", l)
	}
	o := h.run(exitOK, "site", "resume", site, "-o", "json")
	if l := decode[siteLine](t, o); l.Paused != nil || l.Limit != 3 {
		t.Errorf("resumed %+v", l)
	}
	eventually(t, "the backup", func() bool { return runHere(t, "show", id, "--raw", "--data", h.data).code == exitOK })
	h.run(exitOK, "site", "window", site, "always")
	h.run(exitOK, "site", "limit", site, "default")
	h.run(exitOK, "site", "rate", site, "0")
	inForce(siteInForce{device.Unlimited, 0})

	h.run(exitFailure, "site", "pause", "nowhere")
	for _, args := range [][]string{
		{"limit", site, "0"}, {"limit", site, "-2"}, {"limit", site, "x"}, {"limit", site}, {"rate", site, "-1"}, {"rate", site, "NaN"},
		{"rate", site, "1e9"}, {"rate", site, "0.0001"}, {"window", site, "sometimes"}, {"window", site, "always", "01:00-02:00"}, {"pause", "No Site"},
		{"pause", site, "--reason", strings.Repeat("x", reasonMax+1)},
	} {
		h.run(exitUsage, append([]string{"site"}, append(args, "--")...)...)
	}
}

func TestViewSite(t *testing.T) {
	t.Parallel()
	now := time.Now()
	seven := device.Limits{Sessions: 7}
	for name, tc := range map[string]struct {
		view  app.SiteView
		limit int
		from  string
	}{
		"the schedulers' settings, as Redis shows them": {app.SiteView{InForce: &seven}, 7, "settings"},
		"not known there: ours":                         {app.SiteView{}, 5, "settings"},
		"paused: ours":                                  {app.SiteView{Site: device.Site{Paused: &device.Pause{}}, InForce: &device.Limits{}}, 5, "settings"},
		"its own":                                       {app.SiteView{Site: device.Site{Limit: 2}, InForce: &seven}, 2, "own"},
		"its own, none":                                 {app.SiteView{Site: device.Site{Limit: device.Unlimited}}, device.Unlimited, "own"},
	} {
		if l := viewSite(tc.view, 5, now); l.Limit != tc.limit || l.LimitFrom != tc.from {
			t.Errorf("%s: %d from %s", name, l.Limit, l.LimitFrom)
		}
	}
	if row := strings.Join(siteRow(viewSite(app.SiteView{Site: device.Site{Windows: device.Windows{{}}}}, -1, now), now), "|"); !strings.HasSuffix(row, "(never opens)") {
		t.Error(row)
	}
}
