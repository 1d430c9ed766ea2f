package inventory

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/device"
)

func TestJumps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		ways       string // of each device, in the file's order
		problem    string // or what is wrong
		more       int    // other problems that follow from it
	}{
		{name: "one", text: "devices:\n  - {id: a, address: h1, jump: b}\n  - {id: b, address: h2, enabled: false}\n", ways: "a<b b"},
		{name: "two in a row", text: "devices:\n  - {id: a, address: h1, jump: b}\n  - {id: b, address: h2, jump: c}\n  - {id: c, address: h3}\n", ways: "a<c,b b<c c"},
		{name: "for all", text: "defaults: {jump: b}\ndevices:\n  - {id: a, address: h1}\n  - {id: b, address: h2}\n  - {id: c, address: h3, jump: none}\n", ways: "a<b b c"},
		{name: "for all, which has one itself", text: "defaults: {jump: b}\ndevices:\n  - {id: a, address: h1}\n  - {id: b, address: h2, jump: c}\n  - {id: c, address: h3}\n", ways: "a<c,b b<c c"},
		{name: "for a site", text: "sites: {s: {jump: b}}\ndevices:\n  - {id: a, address: h1, site: s}\n  - {id: b, address: h2}\n  - {id: c, address: h3}\n", ways: "a<b b c"},
		{name: "the same address behind two", text: "devices:\n  - {id: a, address: h1, jump: c}\n  - {id: b, address: h1, jump: d}\n  - {id: c, address: h3}\n  - {id: d, address: h4}\n", ways: "a<c b<d c d"},
		{name: "unknown", text: "devices:\n  - {id: a, address: h1, jump: b}\n", problem: `:2: jump: "b" is no device of this inventory`},
		{name: "unknown for all", text: "defaults: {jump: z}\ndevices:\n  - {id: a, address: h1}\n  - {id: b, address: h2}\n", problem: `:1: jump: "z" is no device`},
		{name: "itself", text: "devices:\n  - {id: a, address: h1, jump: a}\n", problem: `:2: jump: "a" leads back to "a"`},
		{name: "in a circle", more: 1, text: "devices:\n  - {id: a, address: h1, jump: b}\n  - {id: b, address: h2, jump: a}\n", problem: `jump: "a" leads back to "b"`},
		{
			name: "too far", problem: "more than 4 jump hosts on the way to \"a\"",
			text: "devices:\n  - {id: a, address: h1, jump: b}\n  - {id: b, address: h2, jump: c}\n  - {id: c, address: h3, jump: d}\n  - {id: d, address: h4, jump: e}\n  - {id: e, address: h5, jump: f}\n  - {id: f, address: h6}\n",
		},
		{name: "twice by one host", text: "devices:\n  - {id: a, address: h1, jump: c}\n  - {id: b, address: h1, jump: c}\n  - {id: c, address: h3}\n", problem: `:3: address: h1:22 of site default is already device "a"`},
		{name: "twice and both directly", text: "devices:\n  - {id: a, address: h1, jump: none}\n  - {id: b, address: h1}\n", problem: `:3: address: h1:22 of site default is already device "a"`},
		{name: "the jump host for all, and twice", text: "defaults: {jump: b}\ndevices:\n  - {id: b, address: h2}\n  - {id: c, address: h2, jump: none}\n", problem: `:4: address: h2:22 of site default is already device "b"`},
		{name: "no id", text: "devices:\n  - {id: a, address: h1, jump: 'b c'}\n", problem: `:2: jump: "b c" is not a device id`},
		{name: "no id for all", text: "defaults: {jump: 'b c'}\ndevices:\n  - {id: a, address: h1}\n", problem: `:1: defaults.jump: "b c" is not a device id`},
		{name: "a circle behind the first", more: 1, text: "devices:\n  - {id: a, address: h1, jump: b}\n  - {id: b, address: h2, jump: c}\n  - {id: c, address: h3, jump: b}\n", problem: `jump: "b" leads back to "c"`},
		{name: "two sites through each other", text: "sites: {s: {jump: b}, t: {jump: a}}\ndevices:\n  - {id: a, address: h1, site: s}\n  - {id: b, address: h2, site: t}\n  - {id: c, address: h3, site: s}\n", ways: "a b c<b"},
	} {
		path := filepath.Join(t.TempDir(), "inventory.yaml")
		text := strings.Replace(tt.text, "defaults: {", "defaults: {credential: x, ", 1)
		if text == tt.text {
			text = "defaults: {credential: x}\n" + text
			tt.problem = strings.NewReplacer(":2:", ":3:", ":3:", ":4:").Replace(tt.problem)
		}
		write(t, path, text)
		f, err := Load(path)
		if tt.problem != "" {
			if err == nil || !strings.Contains(err.Error(), tt.problem) || strings.Count(err.Error(), "\n") != tt.more {
				t.Errorf("%s: %v, want %s and nothing else", tt.name, err, tt.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		siteOf := map[string]string{}
		for _, d := range f.Devices {
			siteOf[d.ID] = d.Site
		}
		var ways []string
		for _, d := range f.Devices {
			var hosts []string
			for _, j := range d.Jumps {
				if j.Address == "" || j.Port != 22 || j.Credential != "x" || j.Site != siteOf[j.ID] {
					t.Errorf("%s: %+v", tt.name, j)
				}
				hosts = append(hosts, j.ID)
			}
			ways = append(ways, strings.TrimSuffix(d.ID+"<"+strings.Join(hosts, ","), "<"))
		}
		if got := strings.Join(ways, " "); got != tt.ways {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.ways)
		}
	}
}

func TestProofAndLargeExport(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.csv")
	write(t, path, "id,address,credential,proof,large_export\na,h1,x,,\nb,h2,x,marker,off\nc,h3,x,twice,sftp\n")
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "", "twice sftp"} {
		if got := strings.TrimSpace(f.Devices[i].Proof + " " + f.Devices[i].LargeExport); got != want {
			t.Errorf("%s: %q, want %q", f.Devices[i].ID, got, want)
		}
	}
	write(t, path, "id,address,credential,proof,large_export\na,h1,x,thrice,scp\n")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "use marker or twice") || !strings.Contains(err.Error(), "use off or sftp") {
		t.Error(err)
	}
}

// TestAChangedJumpHostChangesWhatIsBehindIt: the way stands in each device's record.
func TestAChangedJumpHostChangesWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.yaml")
	load := func(bastion string) []device.Device {
		t.Helper()
		write(t, path, "defaults: {credential: x, jump: b}\ndevices:\n  - {id: a, address: h1}\n  - {id: b, "+bastion+"}\n  - {id: c, address: h3, jump: none}\n")
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return f.Devices
	}
	before := load("address: h2")
	for _, bastion := range []string{"address: h4", "address: h2, port: 23", "address: h2, credential: y", "address: h2, site: riga"} {
		diff := Compare(before, load(bastion))
		var ids []string
		for _, d := range diff.Changed {
			ids = append(ids, d.ID)
		}
		for _, m := range diff.Moved {
			ids = append(ids, m.To.ID)
		}
		if got := strings.Join(ids, " "); got != "a b" || len(diff.Added)+len(diff.Removed) > 0 {
			t.Errorf("%s: %q changes", bastion, got)
		}
	}
	if diff := Compare(before, load("address: h2, name: Bastion, interval: 1h")); len(diff.Changed) != 1 {
		t.Errorf("what is no part of the way: %+v", diff.Changed)
	}
}
