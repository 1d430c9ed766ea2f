package device

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func window(t *testing.T, text string) Window {
	t.Helper()
	w, err := ParseWindow(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseWindow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"mon-fri 01:00-05:00 Europe/Riga": "mon-fri 01:00-05:00 Europe/Riga",
		"1:00-5:00":                       "daily 01:00-05:00 UTC",
		"daily 22:00-06:00 UTC":           "daily 22:00-06:00 UTC",
		"Sat,SUN 00:00-24:00":             "sat,sun 00:00-24:00 UTC",
		"fri-mon 00:30-00:00":             "mon,fri-sun 00:30-00:00 UTC",
		"mon,tue,wed,fri 01:00-02:00":     "mon-wed,fri 01:00-02:00 UTC",
		"sun 23:59-00:01  Asia/Kathmandu": "sun 23:59-00:01 Asia/Kathmandu",
	} {
		w, err := ParseWindow(text)
		if err != nil || w.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, w, err, want)
		}
		again, err := ParseWindow(w.String())
		if err != nil || !reflect.DeepEqual(again, w) {
			t.Errorf("%q read again: %+v, %v, want %+v", w, again, err, w)
		}
	}
	for text, want := range map[string]string{
		"":                                "write it as",
		"mon-fri":                         "write it as",
		"moo 01:00-02:00":                 "moo names no days",
		"mon-fri, 01:00-02:00":            "names no days",
		"mon 01:00":                       "no time span",
		"mon 25:00-26:00":                 "no time of day",
		"mon 1:5-2:00":                    "no time of day",
		"mon 01:60-02:00":                 "no time of day",
		"mon -1:00-02:00":                 "no time of day",
		"mon 24:00-01:00":                 "no time to open",
		"mon 01:00-01:00":                 "00:00-24:00",
		"mon 01:00-02:00 Europe/Nowhere":  "no time zone",
		"mon 01:00-02:00 Local":           "no time zone",
		"mon 01:00-02:00 UTC 03:00-04:00": "write it as",
	} {
		if _, err := ParseWindow(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestSpan goes through weekdays, zones, midnight and both changes of the clock. 2026-11-24 is a Tuesday; Riga is two hours
// ahead of UTC in winter and three in summer, from 2026-03-29T01:00Z to 2026-10-25T01:00Z.
func TestSpan(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ window, now, opens, closes string }{
		"later today":           {"daily 01:00-05:00", "2026-11-24T00:59:59Z", "2026-11-24T01:00:00Z", "2026-11-24T05:00:00Z"},
		"the first moment":      {"daily 01:00-05:00", "2026-11-24T01:00:00Z", "2026-11-24T01:00:00Z", "2026-11-24T05:00:00Z"},
		"the last moment":       {"daily 01:00-05:00", "2026-11-24T04:59:59.9Z", "2026-11-24T01:00:00Z", "2026-11-24T05:00:00Z"},
		"past it":               {"daily 01:00-05:00", "2026-11-24T05:00:00Z", "2026-11-25T01:00:00Z", "2026-11-25T05:00:00Z"},
		"in a zone":             {"daily 01:00-05:00 Europe/Riga", "2026-11-23T23:30:00Z", "2026-11-23T23:00:00Z", "2026-11-24T03:00:00Z"},
		"the zone's day counts": {"tue 01:00-05:00 Europe/Riga", "2026-11-23T22:00:00Z", "2026-11-23T23:00:00Z", "2026-11-24T03:00:00Z"},
		"far west":              {"mon 22:00-23:00 America/Los_Angeles", "2026-11-24T06:30:00Z", "2026-11-24T06:00:00Z", "2026-11-24T07:00:00Z"},
		"over the weekend":      {"mon-fri 01:00-05:00", "2026-11-27T05:00:00Z", "2026-11-30T01:00:00Z", "2026-11-30T05:00:00Z"},
		"a week away":           {"tue 01:00-05:00", "2026-11-24T06:00:00Z", "2026-12-01T01:00:00Z", "2026-12-01T05:00:00Z"},
		"before midnight":       {"tue 22:00-06:00", "2026-11-24T23:00:00Z", "2026-11-24T22:00:00Z", "2026-11-25T06:00:00Z"},
		"after midnight":        {"tue 22:00-06:00", "2026-11-25T05:59:59Z", "2026-11-24T22:00:00Z", "2026-11-25T06:00:00Z"},
		"not the day after":     {"tue 22:00-06:00", "2026-11-25T22:00:00Z", "2026-12-01T22:00:00Z", "2026-12-02T06:00:00Z"},
		"up to midnight":        {"daily 22:00-24:00", "2026-11-24T23:59:59Z", "2026-11-24T22:00:00Z", "2026-11-25T00:00:00Z"},
		"a whole day":           {"tue 00:00-24:00", "2026-11-24T12:00:00Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"},
		"over the year's end":   {"thu 23:00-01:00 Europe/Riga", "2026-12-31T22:30:00Z", "2026-12-31T21:00:00Z", "2026-12-31T23:00:00Z"},

		"put forward inside: an hour less":  {"sun 01:00-05:00 Europe/Riga", "2026-03-29T00:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T02:00:00Z"},
		"opens in the hour that is missing": {"sun 03:30-05:00 Europe/Riga", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
		"closes in it":                      {"sun 02:00-03:30 Europe/Riga", "2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
		"lies in it: the next one":          {"sun 03:10-03:50 Europe/Riga", "2026-03-29T00:00:00Z", "2026-04-05T00:10:00Z", "2026-04-05T00:50:00Z"},
		"put back inside: an hour more":     {"sun 01:00-05:00 Europe/Riga", "2026-10-25T02:59:59Z", "2026-10-24T22:00:00Z", "2026-10-25T03:00:00Z"},
		"opens in the hour that comes twice": {"sun 03:30-05:00 Europe/Riga", "2026-10-25T00:45:00Z",
			"2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z"},
		"closes when it first shows": {"sun 01:00-03:30 Europe/Riga", "2026-10-25T00:29:59Z", "2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z"},
		"and opens not again":        {"sun 01:00-03:30 Europe/Riga", "2026-10-25T01:10:00Z", "2026-10-31T23:00:00Z", "2026-11-01T01:30:00Z"},
		"south, half an hour":        {"daily 01:45-03:00 Australia/Lord_Howe", "2026-10-03T15:00:00Z", "2026-10-03T15:15:00Z", "2026-10-03T16:00:00Z"},
	} {
		opens, closes := window(t, tc.window).Span(at(t, tc.now))
		if !opens.Equal(at(t, tc.opens)) || !closes.Equal(at(t, tc.closes)) {
			t.Errorf("%s: %s at %s: %s to %s, want %s to %s", name, tc.window, tc.now,
				opens.UTC().Format(time.RFC3339), closes.UTC().Format(time.RFC3339), tc.opens, tc.closes)
		}
	}
	if opens, closes := (Window{}).Span(at(t, "2026-11-24T00:00:00Z")); !opens.IsZero() || !closes.IsZero() {
		t.Errorf("the zero window opens at %s", opens)
	}
}

// TestSpanHoldsTogether walks through a year in steps of 7 minutes: what Span says of one moment holds until the window
// closes.
func TestSpanHoldsTogether(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"daily 02:30-03:30 Europe/Riga", "sun 22:00-06:00 America/New_York", "sat,sun 01:10-02:50 Australia/Lord_Howe"} {
		w := window(t, text)
		var opens, closes time.Time
		for now, end := at(t, "2026-01-01T00:00:00Z"), at(t, "2027-01-01T00:00:00Z"); now.Before(end); now = now.Add(7 * time.Minute) {
			o, c := w.Span(now)
			if !now.Before(c) || !o.Before(c) {
				t.Fatalf("%s at %s: %s to %s", text, now, o, c)
			}
			if now.Before(closes) && (!o.Equal(opens) || !c.Equal(closes)) {
				t.Fatalf("%s at %s: %s to %s, a moment ago %s to %s", text, now, o, c, opens, closes)
			}
			opens, closes = o, c
		}
	}
}

func TestWindows(t *testing.T) {
	t.Parallel()
	now := at(t, "2026-11-24T00:30:00Z")
	ws := Windows{window(t, "daily 01:00-05:00"), window(t, "tue 04:00-07:00"), window(t, "daily 00:00-00:10")}
	for moment, want := range map[string]bool{"00:05": true, "00:30": false, "01:00": true, "05:30": true, "07:00": false} {
		when := at(t, "2026-11-24T"+moment+":00Z")
		if got := ws.Open(when); got != want {
			t.Errorf("at %s open %v", moment, got)
		}
	}
	if opens, closes := ws.Next(now); opens.Sub(now) != 30*time.Minute || closes.Sub(opens) != 4*time.Hour {
		t.Errorf("next %s to %s", opens, closes)
	}
	if !(Windows{}).Open(now) || (Windows{{}}).Open(now) {
		t.Error("no windows are always open, one that never opens is not")
	}
	site := Site{Name: "a", Windows: ws, Paused: &Pause{At: now, By: "x"}, Rate: 0.5}
	data, err := json.Marshal(site)
	if err != nil {
		t.Fatal(err)
	}
	var got Site
	if err := json.Unmarshal(data, &got); err != nil || !reflect.DeepEqual(got, site) {
		t.Errorf("%s gives %+v, %v", data, got, err)
	}
	if err := json.Unmarshal([]byte(`{"windows":["whenever"]}`), &got); err == nil {
		t.Error("a window that is none was read")
	}
}

func TestSiteLimits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		site Site
		want Limits
	}{
		"the settings'": {Site{}, Limits{Sessions: 7}},
		"its own":       {Site{Limit: 3, Rate: 2}, Limits{3, 2}},
		"none":          {Site{Limit: Unlimited}, Limits{Sessions: Unlimited}},
		"paused":        {Site{Limit: 3, Rate: 2, Paused: &Pause{}}, Limits{0, 2}},
	} {
		if got := tc.site.Limits(7); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
