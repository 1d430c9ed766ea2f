package device

import (
	"regexp"
	"strings"
	"testing"
)

var kvKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`) // what a JetStream KV accepts as a key

func TestKeyRoundTrip(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"r1", "10.0.0.1:22", "core@riga", "a..b", "-", strings.Repeat("x", 128), "FE80::1"} {
		if err := CheckID(id); err != nil {
			t.Error(err)
		}
		key := Key("site-1", id)
		if !kvKey.MatchString(key) || strings.Count(key, ".") != 1 {
			t.Errorf("%q has key %q", id, key)
		}
		site, back, err := SplitKey(key)
		if err != nil || site != "site-1" || back != id {
			t.Errorf("%q comes back as %q %q %v", id, site, back, err)
		}
	}
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "a b", "a*", "a>", "ü", "a\n", strings.Repeat("x", 129)} {
		if CheckID(id) == nil {
			t.Errorf("device id %q passes", id)
		}
	}
	for _, site := range []string{"", "A", "a.b", "a_b", strings.Repeat("x", 41)} {
		if CheckSite(site) == nil {
			t.Errorf("site %q passes", site)
		}
	}
	for _, key := range []string{"nodot", "a.=", "a.=G1", "=1.a"} {
		if _, _, err := SplitKey(key); err == nil {
			t.Errorf("key %q splits", key)
		}
	}
}
