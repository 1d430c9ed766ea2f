package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/confhaul/confhaul/pkg/archive"
)

const (
	timeForms = "2026-11-24 or 2026-11-24T10:00 (UTC, or with an offset as in +02:00), or 2h, 3d, 1w (ago)"
	atForms   = "@3 (its number in the log), @-1 (one before the last), @2026-11-24 or @2026-11-24T10:00 (UTC: the end of that day or minute), " +
		"@2h or @3d (ago), or @ and at least 4 digits of its digest"
	atHelp = `A version is named by its number in the log (@3), by how many versions it lies before the last one (@-1), by a time
at which it was in force (@2026-11-24 or @2026-11-24T10:00, which mean the end of that day or minute in UTC; an offset
may follow, as in @2026-11-24T10:00+02:00), by how long ago that was (@2h, @3d, @1w), or by its digest or at least 4
digits of its beginning.`
)

// version names one version of a device: back versions before the newest, or what which says.
type version struct {
	back  int
	which archive.Which
}

var (
	numberForm = regexp.MustCompile(`^[0-9]{1,7}$`) // longer ones are digests: the log prints 12 digits of those
	backForm   = regexp.MustCompile(`^-[0-9]{1,7}$`)
	digestForm = regexp.MustCompile(`^[0-9a-fA-F]{4,64}$`)
	agoForm    = regexp.MustCompile(`^(?:([0-9]{1,4})w)?(?:([0-9]{1,4})d)?(?:([0-9]{1,4})h)?(?:([0-9]{1,4})m)?(?:([0-9]{1,4})s)?$`)
)

// parseVersion reads the @ forms; "" is the newest version.
func parseVersion(text string, now time.Time) (version, error) {
	if text == "" {
		return version{}, nil
	}
	form, ok := strings.CutPrefix(text, "@")
	if !ok {
		return version{}, fmt.Errorf("%q: a version begins with an @: %s", text, atForms)
	}
	switch {
	case numberForm.MatchString(form):
		n, err := strconv.Atoi(form)
		if err != nil || n == 0 {
			return version{}, fmt.Errorf("%s: versions are numbered from @1; the last one is @-0, the one before @-1", text)
		}
		return version{which: archive.Which{Number: n}}, nil
	case backForm.MatchString(form):
		n, err := strconv.Atoi(form[1:])
		return version{back: n}, err
	}
	t, err := parseTime(form, now, true)
	switch {
	case err == nil:
		return version{which: archive.Which{At: t}}, nil
	case !errors.Is(err, errNoTime):
		return version{}, fmt.Errorf("@%w", err)
	case digestForm.MatchString(form):
		return version{which: archive.Which{Digest: strings.ToLower(form)}}, nil
	}
	return version{}, fmt.Errorf("%s names no version: use %s", text, atForms)
}

var errNoTime = errors.New("is not a time")

// timeLayouts are what a time may look like, and how long the span is that it names; a day is none of 24 hours everywhere,
// but it is in UTC, and an offset follows no bare date.
var timeLayouts = []struct {
	layout string
	span   time.Duration
}{
	{"2006-01-02", 24 * time.Hour},
	{"2006-01-02T15:04", time.Minute}, {"2006-01-02 15:04", time.Minute}, {"2006-01-02T15:04Z07:00", time.Minute},
	{"2006-01-02T15:04:05", time.Second}, {"2006-01-02 15:04:05", time.Second}, {"2006-01-02T15:04:05Z07:00", time.Second},
}

// parseTime reads a time of the past: the beginning of the day, minute or second that the text names, or its end, which is
// now where that is yet to come. The error wraps errNoTime where the text looks like none.
func parseTime(text string, now time.Time, end bool) (time.Time, error) {
	if d, ok := parseAgo(text); ok {
		return now.Add(-d), nil
	}
	for _, l := range timeLayouts {
		t, err := time.Parse(l.layout, text)
		if err != nil {
			continue
		}
		if t.After(now) {
			return time.Time{}, fmt.Errorf("%s lies in the future: it is %s", text, now.UTC().Format("2006-01-02T15:04Z"))
		}
		if !end {
			return t, nil
		}
		if t = t.Add(l.span - 1); t.After(now) {
			t = now
		}
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q %w: use %s", text, errNoTime, timeForms)
}

// parseAgo reads 2h, 3d12h or 1w.
func parseAgo(text string) (d time.Duration, ok bool) {
	m := agoForm.FindStringSubmatch(text)
	if m == nil || text == "" {
		return 0, false
	}
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return 0, false
		}
		d += time.Duration(n) * unit
	}
	return d, true
}
