package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/device"
)

const reasonMax = 200 // characters of a pause's reason

func (e *env) siteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "site", Short: "List, limit, pause and resume sites, and say when their backups may run",
		Long: `What is set for a site holds over all workers, takes effect within about a second, and outlives every restart.`,
		Args: args(cobra.NoArgs), RunE: help,
	}
	cmd.AddCommand(e.siteListCmd(), e.siteLimitCmd(), e.siteRateCmd(), e.sitePauseCmd(), e.siteResumeCmd(), e.siteWindowCmd())
	return cmd
}

// siteLine is one site in listings.
type siteLine struct {
	Site      string        `json:"site"`
	Limit     int           `json:"limit"`      // sessions at once; -1: none
	LimitFrom string        `json:"limit_from"` // own or settings
	Rate      float64       `json:"rate"`       // new sessions per second; 0: no limit
	Paused    *device.Pause `json:"paused"`
	Windows   []string      `json:"windows"`
	Open      bool          `json:"open"`
	NextOpen  *time.Time    `json:"next_open,omitempty"` // of closed windows
	InForce   *siteInForce  `json:"in_force"`            // null: Redis knows no limit, and hands out nothing
	Devices   int           `json:"devices"`
	Pending   int           `json:"pending"`
	Active    int           `json:"active"`
	Scheduled int           `json:"scheduled"`
}

type siteInForce struct {
	Sessions int     `json:"sessions"`
	Rate     float64 `json:"rate"`
}

// viewSite is a site as listed; fallback is the settings' limit where Redis does not show the one of the schedulers.
func viewSite(v app.SiteView, fallback int, now time.Time) siteLine {
	s := v.Site
	l := siteLine{
		Site: s.Name, Limit: s.Limit, LimitFrom: "own", Rate: s.Rate, Paused: s.Paused, Windows: []string{}, Open: s.Windows.Open(now),
		Devices: v.Devices, Pending: v.Tasks["pending"], Active: v.Tasks["active"], Scheduled: v.Tasks["scheduled"] + v.Tasks["retry"],
	}
	if v.InForce != nil {
		l.InForce = &siteInForce{v.InForce.Sessions, v.InForce.Rate}
	}
	if s.Limit == 0 {
		l.Limit, l.LimitFrom = fallback, "settings"
		if v.InForce != nil && s.Paused == nil {
			l.Limit = v.InForce.Sessions
		}
	}
	for _, w := range s.Windows {
		l.Windows = append(l.Windows, w.String())
	}
	if !l.Open {
		opens, _ := s.Windows.Next(now)
		l.NextOpen = optional(opens)
	}
	return l
}

func (e *env) siteListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the sites, what holds for them and what waits in their queues", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runSiteList(cmd.Context()) },
	}
}

func (e *env) runSiteList(ctx context.Context) error {
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	views, err := p.Sites(ctx)
	if err != nil {
		return err
	}
	now, lines := time.Now(), []siteLine{}
	for _, v := range views {
		lines = append(lines, viewSite(v, p.Settings.SiteLimit, now))
	}
	if e.output == "json" {
		return printJSON(e.out, lines)
	}
	rows := [][]string{}
	for _, l := range lines {
		rows = append(rows, siteRow(l, now))
	}
	table(e.out, []string{"SITE", "LIMIT", "RATE", "DEVICES", "PENDING", "ACTIVE", "SCHEDULED", "PAUSED", "WINDOW"}, rows)
	return nil
}

func siteRow(l siteLine, now time.Time) []string {
	return []string{
		l.Site, limitText(l.Limit) + " (" + l.LimitFrom + ")", rateText(l.Rate),
		strconv.Itoa(l.Devices), strconv.Itoa(l.Pending), strconv.Itoa(l.Active), strconv.Itoa(l.Scheduled),
		pauseText(l.Paused, now), windowText(l),
	}
}

func limitText(n int) string {
	if n == device.Unlimited {
		return "none"
	}
	return strconv.Itoa(n)
}

func rateText(rate float64) string {
	if rate == 0 {
		return "none"
	}
	return strconv.FormatFloat(rate, 'g', -1, 64) + "/s"
}

func pauseText(p *device.Pause, now time.Time) string {
	if p == nil {
		return "-"
	}
	text := since(p.At, now) + " by " + p.By
	if p.Reason != "" {
		text += ": " + clip(p.Reason, 60)
	}
	return text
}

func windowText(l siteLine) string {
	switch {
	case len(l.Windows) == 0:
		return "always"
	case l.NextOpen != nil:
		return strings.Join(l.Windows, "; ") + " (opens " + l.NextOpen.UTC().Format("2006-01-02 15:04Z") + ")"
	case l.Open:
		return strings.Join(l.Windows, "; ") + " (open)"
	}
	return strings.Join(l.Windows, "; ") + " (never opens)"
}

func (e *env) siteLimitCmd() *cobra.Command {
	return &cobra.Command{
		Use: "limit SITE N|default|none", Short: "Limit the sessions at a site at once, over all workers",
		Long: `Limit the sessions at a site at once, over all workers: to N, to what the settings say (default), or not at all (none).
Sessions that are open end normally.`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			limit, err := parseLimit(a[1])
			if err != nil {
				return usage(err)
			}
			return e.amendSite(cmd.Context(), a[0], "limit "+a[1], "limit "+a[1], func(s *device.Site) { s.Limit = limit })
		},
	}
}

func parseLimit(text string) (int, error) {
	switch text {
	case "default":
		return 0, nil
	case "none":
		return device.Unlimited, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("limit %s: use 1 or more, default or none; site pause stops a site", text)
	}
	return int(n), nil
}

func (e *env) siteRateCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rate SITE N", Short: "Limit the new sessions at a site per second, over all workers",
		Long: `Limit the new sessions at a site per second, over all workers: they begin at least 1/N s apart. Fractions are allowed:
0.2 is one in five seconds. 0 is no limit.`,
		Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			rate, err := parseRate(a[1])
			if err != nil {
				return usage(err)
			}
			return e.amendSite(cmd.Context(), a[0], "rate "+rateText(rate), "rate "+rateText(rate), func(s *device.Site) { s.Rate = rate })
		},
	}
}

func parseRate(text string) (float64, error) {
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(rate) || rate != 0 && (rate < device.RateMin || rate > device.RateMax) {
		return 0, fmt.Errorf("rate %s: use a number of new sessions per second from %g to %d, or 0 for no limit", text, device.RateMin, device.RateMax)
	}
	return rate, nil
}

func (e *env) sitePauseCmd() *cobra.Command {
	reason := ""
	cmd := &cobra.Command{
		Use: "pause SITE", Short: "Begin no backup at a site until it is resumed",
		Long: `Begin no backup at a site until it is resumed, not even one that somebody asks for. Sessions that are open end normally.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len([]rune(reason)) > reasonMax {
				return usage(fmt.Errorf("--reason: use at most %d characters", reasonMax))
			}
			pause := &device.Pause{At: time.Now().UTC().Truncate(time.Second), By: app.Operator(), Reason: reason}
			return e.amendSite(cmd.Context(), a[0], "pause", "paused", func(s *device.Site) { s.Paused = pause })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` that site list shows")
	return cmd
}

func (e *env) siteResumeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "resume SITE", Short: "End a site's pause", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return e.amendSite(cmd.Context(), a[0], "resume", "resumed", func(s *device.Site) { s.Paused = nil })
		},
	}
}

func (e *env) siteWindowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "window SITE WINDOW...|always", Short: "Say when automatic backups of a site may run",
		Long: `Say when automatic backups of a site may run: in one of the windows, or always. What is due outside of them begins when
the next one opens, spread over a quarter of it and at most 10 minutes; what is running when one closes ends normally.
Backups that somebody asks for do not wait.

A window is DAYS HH:MM-HH:MM ZONE. Days are as in mon-fri or sat,sun (left out: every day), the zone is as in Europe/Riga
(left out: UTC). One that crosses midnight belongs to the day on which it opens.`,
		Example: `  confhaul site window riga "mon-fri 01:00-05:00 Europe/Riga" "sat,sun 00:00-24:00 Europe/Riga"`,
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			windows, err := parseWindows(a[1:])
			if err != nil {
				return usage(err)
			}
			return e.amendSite(cmd.Context(), a[0], "window "+windows.String(), "window "+windows.String(), func(s *device.Site) { s.Windows = windows })
		},
	}
}

func parseWindows(texts []string) (device.Windows, error) {
	if len(texts) == 1 && texts[0] == "always" {
		return nil, nil
	}
	if len(texts) > device.WindowsMax {
		return nil, fmt.Errorf("%d windows: use at most %d", len(texts), device.WindowsMax)
	}
	var ws device.Windows
	for _, text := range texts {
		w, err := device.ParseWindow(text)
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// amendSite changes a site's record, which is recorded as action, and says what was done, or prints the record as JSON.
func (e *env) amendSite(ctx context.Context, name, action, done string, change func(*device.Site)) error {
	if err := device.CheckSite(name); err != nil {
		return usage(err)
	}
	p, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.AuditCommand(ctx, action, name, ""); err != nil {
		return err
	}
	if err := p.AmendSite(ctx, name, change); err != nil {
		return err
	}
	if e.output != "json" {
		_, err := fmt.Fprintf(e.out, "%s %s\n", name, done)
		return err
	}
	views, err := p.Sites(ctx)
	if err != nil {
		return err
	}
	for _, v := range views {
		if v.Site.Name == name {
			return printJSON(e.out, viewSite(v, p.Settings.SiteLimit, time.Now()))
		}
	}
	return errors.New("site " + name + " is gone")
}
