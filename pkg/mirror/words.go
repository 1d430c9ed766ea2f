package mirror

import (
	"crypto/sha1" //nolint:gosec // as git names texts
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/confhaul/confhaul/pkg/archive"
)

// paths gives each device that is in the inventory the place of its file: <site>/<name>.
func paths(devices []archive.Device) map[string]string {
	sites := map[string][]archive.Device{}
	for _, d := range devices {
		if d.Removed.IsZero() && d.Versions > 0 {
			sites[d.Site] = append(sites[d.Site], d)
		}
	}
	out := map[string]string{}
	for site, there := range sites {
		for id, name := range archive.FileNames(there) {
			out[id] = site + "/" + name
		}
	}
	return out
}

// message is the commit's: one line of words, and what is known of the version as trailers.
func message(v archive.Version, words string) string {
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
