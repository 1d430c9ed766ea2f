package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/confhaul/confhaul/pkg/fault"
)

const (
	actTimeout   = 15 * time.Second // of one action
	awaitTimeout = time.Second      // for the watches to bring what an action changed
	formMax      = 16 << 10         // bytes of a form
	reasonMax    = 200              // characters of a pause's reason
)

// doing is what an operator can have done: the name in forms and in the record, what the page says before, and after.
type doing struct{ What, Label, Effect, Result string }

var (
	doBackup = doing{"backup", "Back up now", "A worker dials the router as soon as a session is free. A closed window does not hold it back, a paused site does.",
		"A backup is asked for. It begins as soon as a session is free."}
	doUnblock = doing{"unblock", "Unblock", "The router is dialled again, with the credential as it is now. If the router refuses it again, or shows a key that is not on record, the device is blocked again.",
		"The block is lifted. A scheduler makes a task for the device within seconds."}
	doPause = doing{"pause", "Pause the site", "No backup starts at this site, asked for or not, until it is resumed. Sessions that are open go on.",
		"The site is paused."}
	doResume = doing{"resume", "Resume the site", "Backups start again: what waits in the queue first, within the limits of the site.",
		"The site is resumed."}
	doResumeCredential = doing{"resume-credential", "Resume the credential", "Routers are tried with this credential again at once. If it is still wrong, each of them counts a refused login; 5 in a row pause it again.",
		"The credential is resumed."}
)

// resultOf is what a page says after an action, "" of what is none.
func resultOf(what string) string {
	for _, d := range []doing{doBackup, doUnblock, doPause, doResume, doResumeCredential} {
		if d.What == what {
			return d.Result
		}
	}
	return ""
}

// order is one action with what it is done to.
type order struct {
	action Action
	back   string                          // the page that shows what came of it
	do     func(ctx context.Context) error // does it
	seen   func() bool                     // says whether the fleet shows it
}

var (
	errViewer  = errors.New("viewers look on: ask an operator, or use the command line")
	errUnknown = errors.New("there is no such thing")
)

// act does what a form asks for, and leads back to where it shows.
func (p *pages) act(w http.ResponseWriter, r *http.Request) {
	if RoleOf(r.Context()) != RoleOperator {
		p.fail(w, r, http.StatusForbidden, errViewer)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, formMax)
	if err := r.ParseForm(); err != nil {
		p.fail(w, r, http.StatusBadRequest, err)
		return
	}
	o, err := p.order(UserOf(r.Context()).Name, r.PostForm)
	if err != nil {
		p.fail(w, r, http.StatusNotFound, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(r.Context()), actTimeout, fmt.Errorf("not done within %s", actTimeout))
	defer cancel() // whoever closes the page has asked all the same
	if err := p.Auditor.Audit(ctx, o.action); err != nil {
		p.fail(w, r, http.StatusServiceUnavailable, fmt.Errorf("not done, for it could not be recorded: %w", err))
		return
	}
	if err := o.do(ctx); err != nil {
		p.Log.Warn("action failed", "what", o.action.What, "by", o.action.By, "device", o.action.Device, "site", o.action.Site, "err", err)
		p.fail(w, r, statusOf(err), err)
		return
	}
	ctx, cancel = context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	p.Fleet.await(ctx, o.seen)
	http.Redirect(w, r, o.back+"&result="+url.QueryEscape(r.PostForm.Get("what")), http.StatusSeeOther)
}

// statusOf tells what the fleet refuses from what did not answer.
func statusOf(err error) int {
	if fault.KindOf(err) == fault.Infrastructure {
		return http.StatusServiceUnavailable
	}
	return http.StatusConflict
}

// order reads a form.
func (p *pages) order(by string, form url.Values) (order, error) {
	switch what := form.Get("what"); what {
	case doBackup.What, doUnblock.What:
		return p.deviceOrder(by, what, form.Get("device"))
	case doPause.What, doResume.What:
		return p.siteOrder(by, what, form.Get("site"), form.Get("reason"))
	case doResumeCredential.What:
		name := form.Get("credential")
		if !p.Fleet.pausedNow(name) {
			return order{}, fmt.Errorf("credential %q is not paused: %w", name, errUnknown)
		}
		return order{
			action: Action{By: by, What: what + " " + name}, back: "/?",
			do:   func(ctx context.Context) error { return p.Operations.ResumeCredential(ctx, name) },
			seen: func() bool { return !p.Fleet.pausedNow(name) },
		}, nil
	}
	return order{}, errUnknown
}

func (p *pages) deviceOrder(by, what, id string) (order, error) {
	row, ok := p.Fleet.device(id, time.Now())
	if !ok {
		return order{}, fmt.Errorf("device %q: %w", id, errUnknown)
	}
	d := row.device
	o := order{action: Action{By: by, What: what, Device: d.ID, Site: d.Site}, back: "/device?id=" + url.QueryEscape(d.ID)}
	if what == doUnblock.What {
		o.do = func(ctx context.Context) error { return p.Operations.Unblock(ctx, d) }
		o.seen = func() bool { r := p.Fleet.known(d.Key()); return r == nil || r.state.Block == nil }
		return o, nil
	}
	before := row.request.ID
	o.do = func(ctx context.Context) error { return p.Operations.Backup(ctx, d, by) }
	o.seen = func() bool { r := p.Fleet.known(d.Key()); return r == nil || r.request.ID != before }
	return o, nil
}

func (p *pages) siteOrder(by, what, name, reason string) (order, error) {
	if _, ok := p.Fleet.Picture(time.Now()).bySite[name]; !ok {
		return order{}, fmt.Errorf("site %q: %w", name, errUnknown)
	}
	o := order{action: Action{By: by, What: what, Site: name}, back: "/site?name=" + url.QueryEscape(name)}
	if what == doResume.What {
		o.do = func(ctx context.Context) error { return p.Operations.ResumeSite(ctx, name) }
		o.seen = func() bool { return p.Fleet.site(name).Paused == nil }
		return o, nil
	}
	if r := []rune(reason); len(r) > reasonMax {
		reason = string(r[:reasonMax])
	}
	o.do = func(ctx context.Context) error { return p.Operations.PauseSite(ctx, name, reason, by) }
	o.seen = func() bool { return p.Fleet.site(name).Paused != nil }
	return o, nil
}
