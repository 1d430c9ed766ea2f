// Package routeros knows the text of a RouterOS export: how to ask for it, whether it is whole, and its normal form.
package routeros

// Want says how an export is asked for.
type Want struct {
	Major int  // RouterOS major version last seen; 0: unknown, asked as 7
	Hide  bool // the credential says that the device's secrets stay on the device

	// WithoutSecrets takes an export that shows that the router kept its secrets back.
	WithoutSecrets bool
}

// Command is the one line to run: the export in the form of w's major version, then the end marker. The marker is letters,
// digits and dashes; an empty one asks for the export alone.
func Command(w Want, marker string) string { return w.export() + put(marker) }

// export is the command in the form of w's major version.
func (w Want) export() string {
	switch {
	case w.Hide && w.Major < 7: // an unknown one too: RouterOS 7 takes the option still, and 6 shows secrets without it
		return "/export hide-sensitive"
	case !w.old() && !w.Hide:
		return "/export show-sensitive"
	}
	return "/export"
}

// put is what prints the marker after another command.
func put(marker string) string {
	if marker == "" {
		return ""
	}
	return `; :put "` + marker + `"`
}

// Major is the leading number of a version such as 7.24rc2, 0 where there is none.
func Major(version string) int {
	const most = 1000 // a longer number is no version
	n := 0
	for i := 0; i < len(version) && digit(version[i]); i++ {
		if n = n*10 + int(version[i]-'0'); n > most {
			return 0
		}
	}
	return n
}

// old says whether the router shows its secrets unless told otherwise, as RouterOS did before 7.
func (w Want) old() bool { return w.Major > 0 && w.Major < 7 }

// refetch is the major version to ask as, where what came back shows that w was the wrong form; otherwise 0.
func (w Want) refetch(version string, optionUnknown bool) int {
	got := Want{Major: Major(version)}
	switch {
	case optionUnknown && !w.old() && !w.Hide:
		return 6
	case optionUnknown && w.Major < 7 && w.Hide:
		return 7
	case got.old() && w.Major >= 7 && w.Hide: // the plain form shows secrets there
		return 6
	case got.Major >= 7 && w.old() && !w.Hide: // the plain form hides secrets there
		return 7
	}
	return 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
