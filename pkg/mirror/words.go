package mirror

import (
	"crypto/sha1" //nolint:gosec // as git names texts
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/confhaul/confhaul/pkg/archive"
)

// pathMax is what a file's name may take, in bytes.
const pathMax = 200

// paths gives each device that is in the inventory the place of its file: <site>/<name>.
func paths(devices []archive.Device) map[string]string {
	count := map[string]int{}
	for _, d := range devices {
		if d.Removed.IsZero() {
			count[plainPath(d)]++
		}
	}
	out := map[string]string{}
	for _, d := range devices {
		if !d.Removed.IsZero() || d.Versions == 0 {
			continue
		}
		path := plainPath(d)
		if count[path] > 1 {
			path += "@" + fileName(d.ID)
		}
		out[d.ID] = path
	}
	return out
}

func plainPath(d archive.Device) string {
	name := fileName(d.Name)
	if name == "" {
		name = fileName(d.ID)
	}
	return d.Site + "/" + name
}

// fileName is the name as a file may have it on any system: what is none of letters, digits and a few signs is a "_".
func fileName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune(" ._-+@", r) {
			return r
		}
		return '_'
	}, strings.ToValidUTF8(name, "_"))
	clean = strings.Trim(clean, " .")
	if len(clean) > pathMax {
		clean = strings.ToValidUTF8(clean[:pathMax], "")
	}
	if strings.EqualFold(clean, "git") { // .git is nothing that git takes
		clean = "_" + clean
	}
	return clean
}

// message is the commit's: one line of words, and what is known of the version as trailers.
func (u *update) message(v archive.Version, before, after []byte) string {
	words := "first snapshot"
	if len(before) > 0 {
		words = "changed"
		if u.o.Describe != nil {
			words = u.o.Describe(before, after)
		}
	}
	name := v.Name
	if name == "" {
		name = v.Device
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", oneLine(name), oneLine(words))
	for _, t := range [][2]string{{"Device", v.Device}, {"Site", v.Site}, {"RouterOS", v.RouterOS}, {"Digest", v.Digest}, {"Trigger", v.Trigger}, {"Attempt", v.Attempt}} {
		if t[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", t[0], oneLine(t[1]))
		}
	}
	return b.String()
}

func moveMessage(d archive.Device, from, to string) string {
	return fmt.Sprintf("%s: moved to %s\n\nDevice: %s\n", oneLine(from), oneLine(to), d.ID)
}

// oneLine keeps a text from beginning a trailer of its own.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// blobID is git's name of a text.
func blobID(text []byte) string {
	h := sha1.New() //nolint:gosec // no secret hangs on it
	_, _ = fmt.Fprintf(h, "blob %d\x00", len(text))
	_, _ = h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}
