package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/dashboard"
	"github.com/confhaul/confhaul/pkg/settings"
)

// errNoLogin keeps pages that anybody could read off the network.
var errNoLogin = errors.New("the dashboard has no login: listen on a loopback address, and reach it through an SSH tunnel; " +
	"or name a token file, dashboard: {tokens: FILE}, for which confhaul dashboard token NAME makes a line")

// CheckDashboard says whether the dashboard may be served with these settings.
func CheckDashboard(s settings.Settings) error {
	if s.Dashboard.Tokens == "" && !loopback(s.Listen) {
		return fmt.Errorf("%s: %w", s.Listen, errNoLogin)
	}
	return nil
}

func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// login stands in front of the dashboard. The error is errNoLogin where there is to be none and anybody could come.
func (p *Process) login(now func() time.Time) (*dashboard.Login, error) {
	if err := CheckDashboard(p.Settings); err != nil {
		return nil, err
	}
	o := dashboard.LoginOptions{Log: p.Log, Now: now, Count: func(r dashboard.LoginResult) { p.Metrics.LoginDone(string(r)) }}
	if p.Settings.Dashboard.Tokens != "" {
		var err error
		if o.Tokens, err = dashboard.OpenTokens(p.Settings.Dashboard.Tokens); err != nil {
			return nil, err
		}
		if p.Settings.ListenTLS.Cert == "" && !loopback(p.Settings.Listen) {
			p.Log.Warn("tokens of the dashboard travel in clear on this address: set listen_tls, or put a proxy with TLS in front of it", "listen", p.Settings.Listen)
		}
	}
	return dashboard.NewLogin(o), nil
}

// auditor records what the dashboard is asked for.
type auditor struct{ *Process }

// Audit is dashboard.Auditor's.
func (a auditor) Audit(ctx context.Context, action dashboard.Action) error {
	u := dashboard.UserOf(ctx)
	a.Log.Info("dashboard action", "by", action.By, "from", u.From, "what", action.What, "site", action.Site, "device", action.Device)
	return a.Parts.Audit(ctx, backup.Audit{
		By: action.By, Role: string(u.Role), From: u.From, What: action.What, Site: action.Site, DeviceID: action.Device,
	})
}
