package inventory

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/confhaul/confhaul/pkg/device"
)

// FuzzInventory takes any text for an inventory. What is refused is told with its place; what is good has a device for
// each entry that another reader counts, and each is one that the rest of the house can use.
func FuzzInventory(f *testing.F) {
	for _, seed := range []string{
		goodYAML,
		"devices: &a [*a, {<<: *a, ? [x] : y}]\nsites: {default: *a}\ndefaults: !!x [\n",
		"defaults: {credential: c, jump: b}\ndevices:\n- {id: a, address: h, proof: twice}\n- {id: b, address: i, jump: d, large_export: sftp}\n- {id: d, address: j, jump: b}\n",
		"defaults: {credential: c, jump: b}\nsites: {s: {jump: a, proof: marker}}\ndevices:\n- {id: a, address: h, jump: none}\n- {id: b, address: i, site: s}\n- {id: d, address: i, jump: a, enabled: no}\n",
		"defaults: &d {credential: c}\nsites: {default: *d}\ndevices: [{id: a, address: *x}, {id: &x b, address: '::1'}, ]\n",
		"devices: []\n", "devices: [null]\n", "---\n...\n", "\xef\xbb\xbf", "",
	} {
		f.Add(false, []byte(seed))
	}
	for _, seed := range []string{
		"id,address,credential\nr1,h,c\n\"r\n2\",\"\n\",c,\n",
		"id,address,credential,proof,large_export,jump\na,h1,x,twice,,b\n\nb,h2,x,marker,sftp,none\nc,h1,x,,off,\n",
		"id,address,credential,jump\na,h1,x,b\nb,h2,x,c\nc,h3,x,d\nd,h4,x,e\ne,h5,x,f\nf,h6,x,\n",
		"id;address\n", "id,address,credential\r\n\r\na,h,c\r\n", "",
	} {
		f.Add(true, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, asCSV bool, text []byte) {
		p := &problems{file: "f"}
		parse, count := parseYAML, countYAML
		if asCSV {
			parse, count = parseCSV, countCSV
		}
		devices, _ := resolve(parse(text, p), p)
		if err := p.err(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "f:") && !strings.HasPrefix(line, "and ") {
					t.Errorf("line without a place: %q in %q", line, err)
				}
			}
			return
		}
		if want := count(t, text); len(devices) != want {
			t.Errorf("%d devices of %d entries", len(devices), want)
		}
		checkDevices(t, devices)
	})
}

func countYAML(t *testing.T, text []byte) int {
	t.Helper()
	var doc struct {
		Devices []yaml.Node `yaml:"devices"`
	}
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&doc); err != nil {
		t.Errorf("good for us and not for a decoder: %v", err)
	}
	return len(doc.Devices)
}

func countCSV(t *testing.T, text []byte) int {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("good for us and not for a reader: %v", err)
	}
	return len(rows) - 1
}

// checkDevices holds devices to what a file may say of each, and to each other.
func checkDevices(t *testing.T, devices []device.Device) {
	t.Helper()
	byID := map[string]device.Device{}
	for _, d := range devices {
		byID[d.ID] = d
	}
	if len(byID) != len(devices) {
		t.Errorf("%d ids for %d devices", len(byID), len(devices))
	}
	for _, d := range devices {
		for c, text := range map[column]string{
			colID: d.ID, colName: d.Name, colAddress: d.Address, colSite: d.Site, colTenant: d.Tenant, colPlatform: d.Platform, colCredential: d.Credential,
		} {
			if wrong := check(c, text); wrong != "" {
				t.Errorf("%s of %+v: %s", columnNames[c], d, wrong)
			}
		}
		if d.Port < 1 || d.Port > 65535 || d.Interval != 0 && d.Interval < IntervalMin || len(d.Jumps) > device.JumpsMax ||
			d.Proof != "" && d.Proof != device.ProofTwice || d.LargeExport != "" && d.LargeExport != device.LargeExportSFTP {
			t.Errorf("let through: %+v", d)
		}
		passed := map[string]bool{d.ID: true}
		for i, j := range d.Jumps {
			host := byID[j.ID]
			if passed[j.ID] || j != (device.Jump{ID: host.ID, Site: host.Site, Address: host.Address, Port: host.Port, Credential: host.Credential}) {
				t.Errorf("the way to %s leads over %+v, which is %+v", d.ID, j, host)
			}
			passed[j.ID] = true
			if len(host.Jumps) != i { // what is in front of a host is its own way
				t.Errorf("host %d on the way to %s has %d in front of it", i, d.ID, len(host.Jumps))
			}
		}
	}
}
