package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/routeros"
)

// history opens the archive that the command is about. Nobody needs to run for that.
func (e *env) history(ctx context.Context) (archive.Reader, error) {
	s, err := e.settings()
	if err != nil {
		return nil, err
	}
	r, err := app.OpenHistory(ctx, s)
	return r, historyError(err)
}

// historyError gives what the archive says the exit code of a plain failure: neither Redis nor NATS is away.
func historyError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, archive.ErrNone):
		err = fmt.Errorf("%w; --data names the directory of up or demo, archive.dir in the settings that of an archiver", err)
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	return &exitError{exitFailure, err}
}

// errNoHistory is wrapped where the archive does not know a device, or has no text of it.
var errNoHistory = errors.New("not in the archive")

// findArchived finds a device of the archive by its id, or by a name that no other one has.
func findArchived(ctx context.Context, r archive.Reader, word string) (archive.Device, error) {
	found, err := r.Devices(ctx, archive.DeviceQuery{Word: word})
	if err != nil {
		return archive.Device{}, historyError(err)
	}
	if i := slices.IndexFunc(found, func(d archive.Device) bool { return d.ID == word }); i >= 0 {
		found = found[i : i+1]
	} else if here := slices.DeleteFunc(slices.Clone(found), func(d archive.Device) bool { return !d.Removed.IsZero() }); len(here) > 0 {
		found = here
	}
	switch {
	case len(found) == 0:
		return archive.Device{}, suggest(ctx, r, word)
	case len(found) > 1:
		return archive.Device{}, usage(fmt.Errorf("several devices are called %q: use an id: %s", word, ids(found, 5)))
	case found[0].Versions == 0:
		return archive.Device{}, fmt.Errorf("device %s: its first snapshot is %w yet", found[0].ID, errNoHistory)
	}
	return found[0], nil
}

func ids(devices []archive.Device, most int) string {
	var out []string
	for i := range devices {
		out = append(out, devices[i].ID)
	}
	return list(out, most)
}

// list names the first few of several.
func list(names []string, most int) string {
	if left := len(names) - most; left > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), left)
	}
	return strings.Join(names, ", ")
}

// suggest says which ids and names are most like a word that names none.
func suggest(ctx context.Context, r archive.Reader, word string) error {
	all, err := r.Devices(ctx, archive.DeviceQuery{})
	if err != nil {
		return historyError(err)
	}
	type near struct {
		archive.Device
		far int
	}
	var some []near
	for _, d := range all {
		if far := min(distance(word, d.ID), distance(word, d.Name)); far <= max(2, len(word)/4) {
			some = append(some, near{d, far})
		}
	}
	slices.SortStableFunc(some, func(a, b near) int { return cmp.Compare(a.far, b.far) })
	const most = 3
	some = some[:min(len(some), most)]
	if len(some) == 0 {
		return usage(fmt.Errorf("device %q is %w, which has %s: confhaul archive stats, confhaul changes", word, errNoHistory, plural(len(all), "device")))
	}
	var names []string
	for i := range some {
		names = append(names, some[i].ID)
	}
	return usage(fmt.Errorf("device %q is %w: did you mean %s?", word, errNoHistory, strings.Join(names, " or ")))
}

// distance is how many letters have to go, come or change to make a of b, whatever their case; 0 to 1 where one holds the other.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == b {
		return 0
	}
	if len(a) >= 3 && strings.Contains(b, a) {
		return 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// findVersion finds the version of a device that an argument names; "" is the newest.
func findVersion(ctx context.Context, r archive.Reader, d archive.Device, text string, now time.Time) (archive.Version, error) {
	v, err := parseVersion(text, now)
	if err != nil {
		return archive.Version{}, usage(err)
	}
	if v.back > 0 {
		if v.which.Number = d.Number - v.back; v.back >= d.Versions {
			return archive.Version{}, usage(fmt.Errorf("device %s has the versions @%d to @%d: there is no %s", d.ID, d.Number-d.Versions+1, d.Number, text))
		}
	}
	found, err := r.Version(ctx, d.ID, v.which)
	switch {
	case errors.Is(err, archive.ErrNotFound), errors.Is(err, archive.ErrAmbiguous):
		return found, usage(err)
	}
	return found, historyError(err)
}

// versionView is a version as JSON, with what it changed.
type versionView struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Site          string    `json:"site"`
	Number        int       `json:"version"`
	Digest        string    `json:"sha256_hash"`
	Previous      string    `json:"previous_hash,omitempty"` // of the version before, where it is kept
	FirstSeen     time.Time `json:"first_seen"`              // when the first of its exports began
	LastSeen      time.Time `json:"last_seen"`               // when the last export that equals it began
	Archived      time.Time `json:"archived"`
	Bytes         int       `json:"bytes"` // of the normal form
	RawBytes      int       `json:"raw_bytes"`
	RouterOS      string    `json:"routeros_version"`
	Normalization int       `json:"normalization_version"`
	Proof         string    `json:"proof"`
	Trigger       string    `json:"trigger"`

	LinesAdded   int               `json:"lines_added"`
	LinesRemoved int               `json:"lines_removed"`
	Summary      string            `json:"summary"`
	Changes      []routeros.Change `json:"changes"`
}

func viewVersion(v archive.Version, c archive.Comparison) versionView {
	if c.Changes == nil {
		c.Changes = []routeros.Change{}
	}
	return versionView{
		v.Device, v.Name, v.Site, v.Number, v.Digest, v.Previous, v.FirstSeen, v.LastSeen, v.Archived, v.Size, v.RawSize,
		v.RouterOS, v.Normalization, v.Proof, v.Trigger, c.Added, c.Removed, c.Summary, c.Changes,
	}
}

// lineCounts is a size of change in the fewest letters.
func lineCounts(added, removed int) string {
	switch {
	case removed == 0 && added == 0:
		return "-"
	case removed == 0:
		return fmt.Sprintf("+%d", added)
	case added == 0:
		return fmt.Sprintf("-%d", removed)
	}
	return fmt.Sprintf("+%d -%d", added, removed)
}

// moment is a time in listings.
func moment(t time.Time) string { return t.UTC().Format(time.DateTime) }

const (
	widthMin = 80
	widthMax = 120
)

// width is how many columns a listing may take.
func (e *env) width() int {
	f, ok := e.out.(interface{ Fd() uintptr })
	if !ok || !e.outTerminal {
		return widthMax
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return widthMin
	}
	return max(widthMin, min(n, widthMax))
}

// fitTable is table with the last column cut to what is left of the width, which is never less than a few words.
func (e *env) fitTable(header []string, rows [][]string) {
	last, left := len(header)-1, e.width()
	for i := range last {
		column := utf8.RuneCountInString(header[i])
		for _, r := range rows {
			r[i] = visible(r[i])
			column = max(column, utf8.RuneCountInString(r[i]))
		}
		left -= column + 2
	}
	const least = 24
	for _, r := range rows {
		r[last] = clip(visible(r[last]), max(left, least))
	}
	table(e.out, header, rows)
}

// visible is text of a router or a file without what would drive a terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return '\ufffd'
		}
		return r
	}, s)
}
