package device

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the zones' names mean the same on every machine, also where none is installed
)

// Window is a time of some days of the week, as in "mon-fri 01:00-05:00 Europe/Riga". A window that crosses midnight
// belongs to the day on which it opens. Each end is the first moment of its day at which the wall clock shows it or, where
// the clock is put forward over it, the moment of that. The zero Window never opens. As JSON it is its text.
type Window struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes after midnight; to is up to 24 h, and not after from where the window crosses midnight
	zone     *time.Location
}

var weekdays = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

const (
	dayMinutes = 24 * 60
	windowHelp = `write it as "mon-fri 01:00-05:00 Europe/Riga" or "sat,sun 22:00-06:00"; without days it is every day, without a zone UTC`
)

// ParseWindow reads a window: days (mon-fri, sat,sun, daily; left out: every day), times (HH:MM-HH:MM, up to 24:00), and a
// zone of the IANA database (left out: UTC).
func ParseWindow(text string) (Window, error) {
	w, err := parseWindow(strings.Fields(text))
	if err != nil {
		return Window{}, fmt.Errorf("window %q: %w", text, err)
	}
	return w, nil
}

func parseWindow(fields []string) (Window, error) {
	w := Window{zone: time.UTC}
	days := "daily"
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		days, fields = fields[0], fields[1:]
	}
	if len(fields) < 1 || len(fields) > 2 {
		return w, errors.New(windowHelp)
	}
	if len(fields) == 2 {
		var err error
		if w.zone, err = zoneOf(fields[1]); err != nil {
			return w, err
		}
	}
	if err := w.readDays(strings.ToLower(days)); err != nil {
		return w, err
	}
	return w, w.readTimes(fields[0])
}

// zoneOf refuses what LoadLocation takes and what means something else on another machine.
func zoneOf(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("%s is no time zone: use a name like Europe/Riga, or UTC", name)
	}
	return zone, nil
}

func (w *Window) readDays(text string) error {
	if text == "daily" {
		text = "sun-sat"
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := weekday(first), weekday(last)
		if from < 0 || to < 0 {
			return fmt.Errorf("%s names no days: %s", part, windowHelp)
		}
		for d := from; ; d = (d + 1) % 7 {
			w.days[d] = true
			if d == to {
				break
			}
		}
	}
	return nil
}

func weekday(name string) int {
	for i, d := range weekdays {
		if d == name {
			return i
		}
	}
	return -1
}

func (w *Window) readTimes(text string) error {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return fmt.Errorf("%s is no time span: %s", text, windowHelp)
	}
	var err error
	if w.from, err = minutes(from); err != nil {
		return err
	}
	if w.to, err = minutes(to); err != nil {
		return err
	}
	switch w.from {
	case dayMinutes:
		return errors.New("24:00 is no time to open: write 00:00 and the day after")
	case w.to:
		return errors.New("it opens and closes at the same time: write 00:00-24:00 for whole days")
	}
	return nil
}

// minutes reads HH:MM up to 24:00.
func minutes(text string) (int, error) {
	h, m, ok := strings.Cut(text, ":")
	hour, herr := strconv.ParseUint(h, 10, 8)
	minute, merr := strconv.ParseUint(m, 10, 8)
	total := int(hour)*60 + int(minute)
	if !ok || herr != nil || merr != nil || len(h) > 2 || len(m) != 2 || minute > 59 || total > dayMinutes {
		return 0, fmt.Errorf("%s is no time of day: use HH:MM", text)
	}
	return total, nil
}

// String is the window as ParseWindow reads it.
func (w Window) String() string {
	return fmt.Sprintf("%s %02d:%02d-%02d:%02d %s", w.dayText(), w.from/60, w.from%60, w.to/60, w.to%60, w.location())
}

// dayText names runs of three days and more as a range, which begins on Monday.
func (w Window) dayText() string {
	if w.days == [7]bool{true, true, true, true, true, true, true} {
		return "daily"
	}
	var parts []string
	for i := 0; i < 7; {
		run := 0
		for i+run < 7 && w.days[(i+run+1)%7] {
			run++
		}
		first, last := weekdays[(i+1)%7], weekdays[(i+max(run, 1))%7]
		switch {
		case run > 2:
			parts = append(parts, first+"-"+last)
		case run == 2:
			parts = append(parts, first, last)
		case run == 1:
			parts = append(parts, first)
		}
		i += run + 1
	}
	return strings.Join(parts, ",")
}

func (w Window) location() *time.Location {
	if w.zone == nil {
		return time.UTC
	}
	return w.zone
}

// MarshalText is String.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText is ParseWindow.
func (w *Window) UnmarshalText(text []byte) (err error) {
	*w, err = ParseWindow(string(text))
	return err
}

// Span is the time in which now lies or, where the window is closed, the next: from opens up to and without closes. Both
// are zero for a window that never opens.
func (w Window) Span(now time.Time) (opens, closes time.Time) {
	y, m, d := now.In(w.location()).Date()
	for day := -1; day <= 14; day++ { // yesterday's may last; a day's may fall into hours that the clock leaves out
		if !w.days[time.Date(y, m, d+day, 12, 0, 0, 0, time.UTC).Weekday()] {
			continue
		}
		last := day
		if w.to <= w.from {
			last++
		}
		opens, closes = wall(y, m, d+day, w.from, w.location()), wall(y, m, d+last, w.to, w.location())
		if opens.Before(closes) && now.Before(closes) {
			return opens, closes
		}
	}
	return time.Time{}, time.Time{}
}

// wall is the first moment at which the clock of a zone shows the minutes after midnight of a date or, where it is put
// forward over them, that moment.
func wall(year int, month time.Month, day, minutes int, zone *time.Location) time.Time {
	shown := time.Date(year, month, day, 0, minutes, 0, 0, time.UTC)
	var candidates [2]time.Time // by the zone's offset of the day before and that of the day after
	for i, days := range [2]int{-1, 1} {
		_, offset := shown.AddDate(0, 0, days).In(zone).Zone()
		candidates[i] = shown.Add(-time.Duration(offset) * time.Second).In(zone)
	}
	earlier, later := candidates[0], candidates[1]
	if later.Before(earlier) {
		earlier, later = later, earlier
	}
	for _, t := range [2]time.Time{earlier, later} {
		if _, offset := t.Zone(); t.Unix()+int64(offset) == shown.Unix() {
			return t
		}
	}
	put, _ := later.ZoneBounds()
	return put
}

// Windows are when automatic backups of a site may run; none means always.
type Windows []Window

// Open says whether they may run at now.
func (ws Windows) Open(now time.Time) bool {
	if len(ws) == 0 {
		return true
	}
	opens, _ := ws.Next(now)
	return !opens.IsZero() && !opens.After(now)
}

// Next is the time in which now lies or, where all are closed, the next one, of the window that opened or opens first. Both
// are zero where there is none: of no windows, or of windows that never open.
func (ws Windows) Next(now time.Time) (opens, closes time.Time) {
	for _, w := range ws {
		o, c := w.Span(now)
		if !o.IsZero() && (opens.IsZero() || o.Before(opens)) {
			opens, closes = o, c
		}
	}
	return opens, closes
}

// String lists them.
func (ws Windows) String() string {
	if len(ws) == 0 {
		return "always"
	}
	texts := make([]string, len(ws))
	for i, w := range ws {
		texts[i] = w.String()
	}
	return strings.Join(texts, "; ")
}
