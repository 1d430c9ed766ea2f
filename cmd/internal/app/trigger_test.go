package app

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// TestReadTrigger: what is a request, and for which tenant.
func TestReadTrigger(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]trigger{
		`{"device_id":"r1","tenant_id":"acme"}`:        {"r1", "acme"},
		`{"device_id":"r1"}`:                           {"r1", "default"},
		`{"device_id":"r1","tenant_id":null,"by":"x"}`: {"r1", "default"},
		`{"device_id":"*"}`:                            {},
		`{"tenant_id":"acme"}`:                         {},
		`{"device_id":7}`:                              {},
		`{"device_id":"r1"`:                            {},
		`"r1"`:                                         {},
		``:                                             {},
	} {
		got, err := readTrigger([]byte(request))
		if bad := want == (trigger{}); bad != (err != nil) || !bad && got != want {
			t.Errorf("%s: %+v, %v", request, got, err)
		}
	}
}

// TestTriggerRefusal: which devices are asked for, and for whom.
func TestTriggerRefusal(t *testing.T) {
	t.Parallel()
	d := device.Device{ID: "r1", Site: "riga", Tenant: "acme", Enabled: true}
	disabled := d
	disabled.Enabled = false
	paused := device.Site{Name: "riga", Paused: &device.Pause{By: "ann", Reason: "core upgrade"}}
	for name, tc := range map[string]struct {
		tenant string
		d      device.Device
		found  bool
		site   device.Site
		want   string
	}{
		"asked for":      {"acme", d, true, device.Site{}, ""},
		"unknown":        {"acme", device.Device{}, false, device.Site{}, "not in the registry"},
		"another's":      {"default", d, true, device.Site{}, `tenant "default"`},
		"disabled":       {"acme", disabled, true, device.Site{}, "disabled"},
		"at paused site": {"acme", d, true, paused, "core upgrade): confhaul site resume riga"},
	} {
		err := trigger{"r1", tc.tenant}.refusal(tc.d, tc.found, tc.site)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusal: which requests are answered without being made.
func TestRefusal(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	d := device.Device{ID: "r1", Credential: "fleet"}
	free := backup.State{}
	held := backup.State{Block: &backup.Block{Kind: fault.Auth, Reason: "refused"}}
	open := backup.State{Running: &backup.Running{Worker: "w1", Started: now, Until: now.Add(time.Second)}}
	ended := backup.State{Running: &backup.Running{Until: now}}
	paused := map[string]backup.Breaker{"fleet": {PausedUntil: now.Add(time.Minute)}}
	trial := map[string]backup.Breaker{"fleet": {PausedUntil: now}}
	for name, tc := range map[string]struct {
		s      backup.State
		paused map[string]backup.Breaker
		how    How
		want   string
	}{
		"free":                         {free, nil, How{Alone: true}, ""},
		"blocked":                      {held, nil, How{Alone: true}, "blocked"},
		"blocked and forced":           {held, paused, How{Force: true}, ""},
		"credential paused":            {free, paused, How{}, "fleet is paused"},
		"credential's trial is due":    {free, trial, How{}, ""},
		"session open":                 {open, nil, How{}, ""},
		"session open, not alone":      {open, nil, How{Alone: true}, "w1 began it at 2026-11-24T12:00:00Z"},
		"a mark that its worker left":  {ended, nil, How{Alone: true}, ""},
		"another credential is paused": {free, map[string]backup.Breaker{"x": paused["fleet"]}, How{}, ""},
	} {
		err := refusal(d, tc.s, tc.paused, tc.how, now)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, ErrUnderWay) != strings.Contains(name, "not alone") {
			t.Errorf("%s: under way: %v", name, err)
		}
	}
}

// TestTriggerAnswers: the bytes that callers get.
func TestTriggerAnswers(t *testing.T) {
	t.Parallel()
	d := device.Device{ID: "r1"}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	auth := backup.State{Result: backup.ResultBlocked, Kind: fault.Auth, Reason: "login: refused", Block: &backup.Block{Kind: fault.Auth, Reason: "login: refused", At: now}}
	key := backup.State{Result: backup.ResultBlocked, Kind: fault.HostKey, Reason: "use `confhaul hostkey accept DEVICE`", Block: &backup.Block{Kind: fault.HostKey}}
	open := backup.State{Running: &backup.Running{Worker: "w1", Started: now, Until: now.Add(time.Second)}}
	for want, asked := range map[string]Asked{
		`{"status":"success","sha256_hash":"ab","message":"changed: a new snapshot is stored"}`:                                             {d, backup.State{Result: backup.ResultChanged, Digest: "ab"}, nil},
		`{"status":"success","sha256_hash":"ab","message":"unchanged: equal to the last snapshot"}`:                                         {d, backup.State{Result: backup.ResultUnchanged, Digest: "ab"}, nil},
		`{"status":"failed","error":"timeout: dial: no answer"}`:                                                                            {d, backup.State{Result: backup.ResultFailed, Kind: fault.Timeout, Reason: "dial: no answer", Digest: "ab"}, nil},
		`{"status":"failed","error":"auth: login: refused; correct the credential, or: confhaul unblock r1"}`:                               {d, auth, nil},
		`{"status":"failed","error":"blocked: since 2026-11-24 12:00:00: login: refused; correct the credential, or: confhaul unblock r1"}`: {d, auth, blocked(auth)},
		"{\"status\":\"failed\",\"error\":\"hostkey: use `confhaul hostkey accept r1`\"}":                                                   {d, key, nil},
		`{"status":"locked","message":"ask: a backup of the device is under way: w1 began it at 2026-11-24T12:00:00Z"}`:                     {d, open, refusal(d, open, nil, How{Alone: true}, now)},
	} {
		if got := string(wordsFor(asked).encode()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestTriggerWithoutOutcome: what callers get when nothing served their request.
func TestTriggerWithoutOutcome(t *testing.T) {
	t.Parallel()
	err := errors.New("no outcome within 10m0s")
	for want, got := range map[string]triggerAnswer{
		"stopping: this scheduler ends":               wordsWithout(err, true, true),
		"no outcome within 10m0s: the request stands": wordsWithout(err, false, true),
		"no outcome within 10m0s":                     wordsWithout(err, false, false),
	} {
		if got.Status != triggerFailed || !strings.HasPrefix(got.Error, want) {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}
