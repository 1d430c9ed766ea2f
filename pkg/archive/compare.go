package archive

import (
	"fmt"
	"strings"

	"github.com/confhaul/confhaul/pkg/routeros"
)

// Comparison is what a version changed in the one before. No field shows a secret.
type Comparison struct {
	Added, Removed int // lines
	Changes        []routeros.Change
	Summary        string // one line in words
}

// Compare says what to changed in from; old and new are their normal forms.
func Compare(from, to Version, old, new []byte) Comparison {
	c := Comparison{Changes: routeros.Changes(old, new)}
	c.Added, c.Removed = routeros.Stat(old, new)
	var words []string
	if from.RouterOS != to.RouterOS {
		words = append(words, fmt.Sprintf("RouterOS %s -> %s", from.RouterOS, to.RouterOS))
	}
	if from.Normalization != to.Normalization {
		words = append(words, fmt.Sprintf("normal form %d -> %d (archive renormalize)", from.Normalization, to.Normalization))
	}
	if s := routeros.Summarize(c.Changes); s != "" {
		words = append(words, s)
	}
	c.Summary = strings.Join(words, "; ")
	return c
}

// Begin is the Comparison of a version before which none is stored.
func Begin(v Version, text []byte) Comparison {
	if v.Number > 1 {
		return Comparison{Summary: "the versions before are no longer kept"}
	}
	c := Comparison{Summary: "first version"}
	c.Added, _ = routeros.Stat(nil, text)
	return c
}
