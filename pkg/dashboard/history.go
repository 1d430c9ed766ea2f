package dashboard

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
)

// ErrNoHistory is wrapped where this process has no archive at hand.
var ErrNoHistory = errors.New("the archive is not at hand here")

// Version is one version of a device's configuration.
type Version struct {
	Number         int
	Previous       bool      // the one before is kept
	First, Last    time.Time // when the first and the last of its exports began
	RouterOS       string
	Size           int // bytes
	Added, Removed int // lines
	Summary        string
}

// Diff is what differs between two versions.
type Diff struct {
	From, To Version
	Text     string // unified
}

// History answers what was.
type History interface {
	// Versions lists the newest limit versions of a device, newest first; none where the archive has no text of it.
	Versions(ctx context.Context, device string, limit int) ([]Version, error)
	// Diff compares two versions by number; their secrets are shown only where that is asked for.
	Diff(ctx context.Context, device string, from, to int, secrets bool) (Diff, error)
}

// linesMax is how many lines of a difference a page shows.
const linesMax = 5000

// line is one line of a difference.
type line struct{ Class, Text string }

// diffLines takes a unified difference apart; left is how many lines are not in it.
func diffLines(text string) (lines []line, left int) {
	heading := true
	for l := range strings.Lines(text) {
		if len(lines) == linesMax {
			left++
			continue
		}
		class := ""
		switch l = strings.TrimSuffix(l, "\n"); {
		case strings.HasPrefix(l, "@@"):
			heading, class = false, "hunk"
		case heading:
			class = "file"
		case strings.HasPrefix(l, "+"):
			class = "added"
		case strings.HasPrefix(l, "-"):
			class = "removed"
		}
		lines = append(lines, line{class, visible(l)})
	}
	return lines, left
}

// visible is text of a router without what would not show, or would show other text than there is.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
