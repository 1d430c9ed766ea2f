package backup

import (
	"fmt"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
	"github.com/confhaul/confhaul/pkg/fault"
)

// Age is a duration as people say it: its one or two largest units.
func Age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// Since is the age of a time, and a dash where there is none.
func Since(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	if now.Sub(t) < time.Second {
		return "now"
	}
	return Age(now.Sub(t)) + " ago"
}

// From which age on a backup is stale.
const (
	StaleDefault = 26 * time.Hour // a day, and two hours for what was late
	StaleGrace   = 2 * time.Hour  // beyond the interval of devices that are backed up more seldom
)

// StaleAfter is the age from which on the last proven export of a device is stale: own is its interval, 0 where it has the
// usual one. A device that has no proven export counts from when it was first seen.
func StaleAfter(own, usual time.Duration) time.Duration {
	if own > 0 {
		usual = own
	}
	return max(StaleDefault, usual+StaleGrace)
}

// Findings are what is no failure and yet not as it should be.
func (s State) Findings() []string {
	var out []string
	if len(s.KnownGaps) > 0 {
		out = append(out, "the router cannot export "+strings.Join(s.KnownGaps, ", "))
	}
	if len(s.Legacy) > 0 {
		out = append(out, "outdated SSH: "+strings.Join(s.Legacy, ", "))
	}
	return out
}

// Advice is why a device is not backed up as it should be, and the command that helps; "" where nothing is wrong.
func (s State) Advice(id string) (reason, command string) {
	switch {
	case s.Block != nil && s.Block.Kind == fault.HostKey:
		command = "confhaul hostkey accept " + id
		if s.Block.HostKey != nil {
			command += " " + s.Block.HostKey.Fingerprint
		}
		return Addressed(s.Block.Reason, id), command
	case s.Block != nil:
		return s.Block.Reason, "confhaul unblock " + id
	case s.Result == "" || s.Result.Good():
		return "", ""
	case s.Kind == fault.Incomplete, s.Kind == fault.Rejected, s.Kind == fault.TooLarge:
		return s.Reason, "confhaul show " + id + " --suspect"
	}
	return s.Reason, "confhaul backup " + id + " --wait"
}

// Addressed gives the text of a changed host key, whose advice cannot name the device, the device's id.
func Addressed(text, id string) string {
	return strings.ReplaceAll(text, "accept DEVICE", "accept "+id)
}

// Words says who refused a paused credential, and when it is tried again.
func (b Breaker) Words() string {
	refused := make([]string, 0, len(b.Refusals))
	for _, key := range b.Refusals {
		if _, id, err := device.SplitKey(key); err == nil {
			refused = append(refused, id)
		}
	}
	devices := fmt.Sprintf("%d devices", len(b.Refusals))
	if len(b.Refusals) == 1 {
		devices = "1 device"
	}
	return fmt.Sprintf("%s refused it in a row since %s (%s); next trial login at %s", devices, b.Since.UTC().Format(time.DateTime),
		strings.Join(refused, " "), b.PausedUntil.UTC().Format(time.DateTime))
}

// ResumeCommand resumes the credential at once.
func (b Breaker) ResumeCommand() string { return "confhaul unblock --credential " + b.Credential }
