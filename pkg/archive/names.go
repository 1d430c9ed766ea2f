package archive

import (
	"cmp"
	"strings"
)

const (
	fileNameMax = 60 // bytes of a device's name in that of a file
	fileIDSign  = "@"
)

// FileNames gives each device a name for its file, by id: its own one, or its id where it has none, with a "_" for all but
// letters, digits, dots and dashes of ASCII. Where several would have the same, in whatever case, each has its id behind an
// "@" too. A name has at most 190 bytes.
func FileNames(devices []Device) map[string]string {
	plain := func(d *Device) string {
		if name := safe(d.Name); name != "" {
			return name
		}
		return cmp.Or(safe(d.ID), "_") // an id of dots alone
	}
	shared := map[string]int{}
	for i := range devices {
		shared[strings.ToLower(plain(&devices[i]))]++
	}
	out := make(map[string]string, len(devices))
	for i := range devices {
		d := &devices[i]
		name := plain(d)
		if shared[strings.ToLower(name)] > 1 {
			name += fileIDSign + strings.ReplaceAll(d.ID, ":", "+") // which no id has, and no name
		}
		out[d.ID] = name
	}
	return out
}

// safe is a name with nothing in it that a file system refuses or reads as a path, and without fileIDSign.
func safe(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, name)
	return strings.Trim(name[:min(len(name), fileNameMax)], ".")
}
