package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
	"github.com/confhaul/confhaul/pkg/natsio"
)

const (
	triggerSubject = "config.backup.trigger"
	triggerGroup   = "confhaul" // one scheduler answers, however many there are
	triggersMax    = 64         // that one scheduler waits for at once
	// triggerTimeout bounds the wait for an outcome. Those who ask set their own, which is shorter as a rule.
	triggerTimeout = 10 * time.Minute
)

// trigger is a request on config.backup.trigger. Unknown fields are let be.
type trigger struct {
	DeviceID string `json:"device_id"`
	TenantID string `json:"tenant_id"` // "": default
}

// triggerStatus is the one word of an answer.
type triggerStatus string

const (
	triggerSuccess triggerStatus = "success" // an export that began after the request was proven whole and is stored
	triggerFailed  triggerStatus = "failed"
	triggerLocked  triggerStatus = "locked" // a session to the device is open, and nothing was asked for: ask again when it has ended
)

// triggerAnswer is what callers get; empty fields are left out.
type triggerAnswer struct {
	Status  triggerStatus `json:"status"`
	Digest  string        `json:"sha256_hash,omitempty"` // of the snapshot, with success
	Message string        `json:"message,omitempty"`
	Error   string        `json:"error,omitempty"` // with failed
}

func failed(format string, args ...any) triggerAnswer {
	return triggerAnswer{Status: triggerFailed, Error: fmt.Sprintf(format, args...)}
}

func (a triggerAnswer) encode() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}

// answerTriggers serves config.backup.trigger until ctx ends; whoever waits then is told so.
func (p *Process) answerTriggers(ctx context.Context) error {
	return p.Conn.Serve(ctx, natsio.Service{
		Subject: triggerSubject, Group: triggerGroup, AtOnce: triggersMax,
		Answer: func(ctx context.Context, request []byte) []byte { return p.answerTrigger(ctx, request).encode() },
		Busy:   failed("busy: this scheduler waits for %d backups that were asked for: ask again later", triggersMax).encode(),
		Report: func(err error) { p.Log.Warn("backup asked for over NATS", "err", err) },
	})
}

// answerTrigger asks for one backup, as confhaul backup --wait does, and waits for its outcome.
func (p *Process) answerTrigger(ctx context.Context, request []byte) triggerAnswer {
	t, err := readTrigger(request)
	if err != nil {
		return failed("%v", err)
	}
	if p.Hold() {
		return failed("this scheduler asks for nothing: its clock is off, or NATS does not answer; see its log and /readyz")
	}
	wait, cancel := context.WithTimeoutCause(ctx, triggerTimeout, fmt.Errorf("no outcome within %s", triggerTimeout))
	defer cancel()
	asked, err := p.backUpOne(wait, t)
	answer := wordsFor(asked)
	if err != nil {
		answer = wordsWithout(err, ctx.Err() != nil, wait.Err() != nil)
	}
	p.Log.Info("backup asked for over NATS", "device", t.DeviceID, "answer", answer.Status, "err", answer.Error)
	return answer
}

// readTrigger reads a request and checks its shape.
func readTrigger(request []byte) (trigger, error) {
	var t trigger
	if err := json.Unmarshal(request, &t); err != nil {
		return t, fmt.Errorf(`the request is not {"device_id": "...", "tenant_id": "..."}: %w`, err)
	}
	if t.TenantID == "" {
		t.TenantID = device.DefaultTenant
	}
	return t, device.CheckID(t.DeviceID)
}

// backUpOne makes the request and waits for what serves it.
func (p *Process) backUpOne(ctx context.Context, t trigger) (asked Asked, err error) {
	d, found, err := p.Store.FindDevice(ctx, t.DeviceID)
	if err != nil {
		return Asked{}, err
	}
	var site device.Site
	if found {
		if site, _, err = p.Store.Site(ctx, d.Site); err != nil {
			return Asked{}, err
		}
	}
	if err := t.refusal(d, found, site); err != nil {
		return Asked{}, err
	}
	asks, answer := NewAsks(), func(a Asked) { asked = a }
	if err := p.Ask(ctx, asks, []device.Device{d}, How{Alone: true}, answer); err != nil {
		return Asked{}, err
	}
	return asked, p.Await(ctx, asks, answer)
}

// refusal says why this device cannot be backed up for this caller, and nil where it can.
func (t trigger) refusal(d device.Device, found bool, site device.Site) error {
	step := "device " + t.DeviceID
	switch {
	case !found:
		return fault.New(fault.Rejected, step, "it is not in the registry; see confhaul inventory list")
	case d.Tenant != t.TenantID:
		return fault.New(fault.Rejected, step, "it is not one of the tenant %q", t.TenantID)
	case !d.Enabled:
		return fault.New(fault.Rejected, step, "it is disabled in the inventory")
	case site.Paused != nil:
		why := ""
		if site.Paused.Reason != "" {
			why = " (" + site.Paused.Reason + ")"
		}
		return fault.New(fault.Rejected, step, "its site is paused by %s since %s%s: confhaul site resume %s",
			site.Paused.By, site.Paused.At.UTC().Format(time.RFC3339), why, d.Site)
	}
	return nil
}

// wordsFor puts an outcome into an answer.
func wordsFor(a Asked) triggerAnswer {
	s := a.State
	switch {
	case errors.Is(a.Error, ErrUnderWay):
		return triggerAnswer{Status: triggerLocked, Message: a.Error.Error()}
	case a.Error != nil:
		return failed("%s", advised(a.Error.Error(), a))
	case s.Result == backup.ResultChanged:
		return triggerAnswer{Status: triggerSuccess, Digest: s.Digest, Message: "changed: a new snapshot is stored"}
	case s.Result.Good():
		return triggerAnswer{Status: triggerSuccess, Digest: s.Digest, Message: "unchanged: equal to the last snapshot"}
	}
	return failed("%s", advised(string(s.Kind)+": "+s.Reason, a))
}

// wordsWithout puts into an answer why there is no outcome: this process stops, the wait was long enough, or a fault.
func wordsWithout(err error, stopping, late bool) triggerAnswer {
	switch {
	case stopping:
		return failed("stopping: this scheduler ends; what was asked for goes on without it, ask again for its outcome")
	case late:
		return failed("%v: the request stands and is served when its turn comes; see confhaul status and confhaul site list", err)
	}
	return failed("%v", err)
}

// advised adds to the text of a blocked device the command that helps.
func advised(text string, a Asked) string {
	switch block := a.State.Block; {
	case block == nil:
		return text
	case block.Kind == fault.HostKey: // the text gives the advice, for a device that it cannot name
		return backup.Addressed(text, a.Device.ID)
	}
	_, command := a.State.Advice(a.Device.ID)
	return text + "; correct the credential, or: " + command
}
