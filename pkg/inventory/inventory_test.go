package inventory

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/pkg/device"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const goodYAML = `
devices:
  - {id: r1, address: 10.0.0.1}
  - id: r2
    name: Core Zürich
    address: fe80::1
    port: 2222
    site: zrh
    tenant: acme
    platform: routeros
    credential: core
    enabled: no
    interval: 1h
  - {id: 007, address: r3.example.net, site: zrh}
defaults: {credential: fleet, port: 8022, interval: 12h}
sites:
  zrh: {credential: zurich, tenant: swiss}
  ber:
`

func TestLoadResolvesDeviceThenSiteThenDefaults(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.yaml")
	write(t, path, goodYAML)
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []device.Device{
		{ID: "r1", Name: "r1", Address: "10.0.0.1", Port: 8022, Site: "default", Tenant: "default", Platform: "routeros", Credential: "fleet", Enabled: true, Interval: 12 * time.Hour},
		{ID: "r2", Name: "Core Zürich", Address: "fe80::1", Port: 2222, Site: "zrh", Tenant: "acme", Platform: "routeros", Credential: "core", Interval: time.Hour},
		{ID: "007", Name: "007", Address: "r3.example.net", Port: 8022, Site: "zrh", Tenant: "swiss", Platform: "routeros", Credential: "zurich", Enabled: true, Interval: 12 * time.Hour},
	}
	if !reflect.DeepEqual(f.Devices, want) {
		t.Errorf("got  %+v\nwant %+v", f.Devices, want)
	}
	if len(f.Digest) != 64 || f.ModTime.IsZero() || f.Path != path {
		t.Errorf("digest %s, mtime %v, path %s", f.Digest, f.ModTime, f.Path)
	}
	err = f.CheckCredentials([]string{"core"})
	wantErr := path + ":15: credential: \"fleet\" is not in the credentials file\n" + path + ":17: credential: \"zurich\" is not in the credentials file"
	if err == nil || err.Error() != wantErr {
		t.Errorf("got  %v\nwant %s", err, wantErr)
	}
	if err := f.CheckCredentials([]string{"core", "fleet", "zurich"}); err != nil {
		t.Error(err)
	}
}

func TestLoadReadsCSV(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.CSV")
	write(t, path, "\ufeffaddress, id,credential,enabled,site,name\n10.0.0.1,r1,fleet,FALSE,,\"Core, \"\"A\"\"\"\n\nr2.example.net , r2 ,fleet,,ber,\n")
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []device.Device{
		{ID: "r1", Name: `Core, "A"`, Address: "10.0.0.1", Port: 22, Site: "default", Tenant: "default", Platform: "routeros", Credential: "fleet"},
		{ID: "r2", Name: "r2", Address: "r2.example.net", Port: 22, Site: "ber", Tenant: "default", Platform: "routeros", Credential: "fleet", Enabled: true},
	}
	if !reflect.DeepEqual(f.Devices, want) {
		t.Errorf("got  %+v\nwant %+v", f.Devices, want)
	}
	if err := f.CheckCredentials(nil); err == nil || !strings.Contains(err.Error(), ":4: credential: ") {
		t.Errorf("error = %v", err)
	}
}

// Every message is whole, so that a change of one is seen. FILE stands for the path.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const head = "defaults: {credential: c}\ndevices:\n"
	const columns = "id, name, address, port, site, tenant, platform, credential, enabled, interval, proof, large_export, jump"
	for name, c := range map[string]struct{ ext, text, want string }{
		"empty":              {"yaml", "", "FILE: the file is empty"},
		"not YAML":           {"yaml", "devices: [\n", "FILE:1: not YAML: did not find expected node content"},
		"text":               {"yaml", "routers\n", "FILE:1: want keys with values"},
		"no devices":         {"yaml", "defaults: {port: 1}\n", "FILE: devices: is missing"},
		"null devices":       {"yaml", "devices:\n", "FILE:1: devices: want a list of devices, or [] for none"},
		"two documents":      {"yaml", "devices: []\n---\ndevices: []\n", "FILE:2: use one document only, without a second ---"},
		"unknown top key":    {"yaml", "device: []\ndevices: []\n", "FILE:1: device: unknown key: use defaults, sites, devices"},
		"unknown key":        {"yaml", head + "  - id: r1\n    adress: h\n", "FILE:4: adress: unknown key: use " + columns},
		"unknown odd key":    {"yaml", head + "  - {id: r1, address: h, \"a\\nb\": c}\n", `FILE:3: "a\nb": unknown key: use ` + columns},
		"repeated key":       {"yaml", head + "  - {id: r1, address: h, id: r2}\n", "FILE:3: id: is already on line 3"},
		"list for a value":   {"yaml", head + "  - {id: r1, address: [h]}\n", "FILE:3: address: want one value"},
		"alias of a device":  {"yaml", head + "  - &d {id: r1, address: h}\n  - *d\n", "FILE:4: want keys with values"},
		"no id":              {"yaml", head + "  - {address: h}\n", "FILE:3: id: is missing"},
		"no address":         {"yaml", head + "  - {id: r1, address: }\n", "FILE:3: address: is missing"},
		"no credential":      {"yaml", "devices:\n  - {id: r1, address: h}\n", "FILE:2: credential: is missing: name one here, for the site or in defaults"},
		"unsafe id":          {"yaml", head + "  - {id: 'r 1', address: h}\n", `FILE:3: id: "r 1" is not a device id: use 1 to 128 of A-Z a-z 0-9 . _ : @ -`},
		"duplicate id":       {"yaml", head + "  - {id: r1, address: h}\n  - {id: r1, address: i}\n", `FILE:4: id: "r1" is already on line 3`},
		"duplicate endpoint": {"yaml", head + "  - {id: r1, address: H.}\n  - {id: r2, address: h}\n", `FILE:4: address: h:22 of site default is already device "r1" on line 3`},
		"duplicate IPv6":     {"yaml", head + "  - {id: r1, address: '2001:db8::1'}\n  - {id: r2, address: '2001:DB8:0::1'}\n", `FILE:4: address: [2001:DB8:0::1]:22 of site default is already device "r1" on line 3`},
		"port 70000":         {"yaml", head + "  - {id: r1, address: h, port: 70000}\n", `FILE:3: port: "70000" is not a port: use 1 to 65535`},
		"port 0":             {"csv", "id,address,credential,port\nr1,h,c,0\n", `FILE:2: port: "0" is not a port: use 1 to 65535`},
		"default port":       {"yaml", "defaults: {credential: c, port: x}\ndevices: [{id: r1, address: h}]\n", `FILE:1: defaults.port: "x" is not a port: use 1 to 65535`},
		"default id":         {"yaml", "defaults: {id: c}\ndevices: []\n", "FILE:1: defaults.id: unknown key: use port, site, tenant, platform, credential, interval, proof, large_export, jump"},
		"site":               {"yaml", head + "  - {id: r1, address: h, site: Ber}\n", `FILE:3: site: "Ber" is not a site name: use 1 to 40 of a-z 0-9 -`},
		"site name":          {"yaml", "sites: {a.b: {}}\ndevices: []\n", `FILE:1: sites: "a.b" is not a site name: use 1 to 40 of a-z 0-9 -`},
		"site's interval":    {"yaml", "sites: {ber: {interval: 1ms}}\ndevices: []\n", `FILE:1: sites.ber.interval: "1ms" is not a duration such as 90s or 6h, of at least 1s`},
		"tenant":             {"yaml", head + "  - {id: r1, address: h, tenant: 'a/b'}\n", `FILE:3: tenant: "a/b" is not a tenant name: use 1 to 128 of A-Z a-z 0-9 . _ : @ -`},
		"platform":           {"yaml", head + "  - {id: r1, address: h, platform: junos}\n", `FILE:3: platform: "junos" is not supported: use routeros`},
		"enabled":            {"yaml", head + "  - {id: r1, address: h, enabled: maybe}\n", `FILE:3: enabled: "maybe" is not true or false`},
		"name":               {"yaml", head + "  - {id: r1, address: h, name: \"a\\tb\"}\n", `FILE:3: name: "a\tb" holds a character that does not print`},
		"long name":          {"yaml", head + "  - {id: r1, address: h, name: " + strings.Repeat("ü", 129) + "}\n", "FILE:3: name: is over 128 characters long"},
		"brackets":           {"yaml", head + "  - {id: r1, address: '[fe80::1]'}\n", `FILE:3: address: "[fe80::1]": write an IPv6 address without brackets, and the port in its own field`},
		"port in address":    {"yaml", head + "  - {id: r1, address: 'h:22'}\n", `FILE:3: address: "h:22": write the port in its own field`},
		"not an IP":          {"yaml", head + "  - {id: r1, address: 10.0.0.256}\n", `FILE:3: address: "10.0.0.256" is neither a host name nor an IP address`},
		"unsafe address":     {"yaml", head + "  - {id: r1, address: '-oProxyCommand=x'}\n", `FILE:3: address: "-oProxyCommand=x" is neither a host name nor an IP address`},
		"two at once":        {"yaml", head + "  - {id: r1, address: h, port: 0}\n  - {id: r2, address: i, enabled: 2}\n", "FILE:3: port: \"0\" is not a port: use 1 to 65535\nFILE:4: enabled: \"2\" is not true or false"},

		"empty CSV":        {"csv", "", "FILE: the file is empty"},
		"semicolons":       {"csv", "id;address\n", "FILE:1: separate the columns with commas, not semicolons"},
		"unknown column":   {"csv", "id,address,pord\nr1,h,1\n", "FILE:1: pord: unknown column: use " + columns},
		"repeated column":  {"csv", "id,address,id\n", "FILE:1: id: the column stands twice"},
		"no id column":     {"csv", "address\nh\n", "FILE:1: id: the column is missing"},
		"short row":        {"csv", "id,address,credential\nr1,h\nr2,i,c\n", "FILE:2: 2 cells, but the header row has 3"},
		"open quote":       {"csv", "id,address,credential\nr1,\"h,c\n", "FILE:2: not CSV: column 9: extraneous or missing \" in quoted-field"},
		"CSV credential":   {"csv", "id,address\nr1,h\n", "FILE:2: credential: is missing: name one here, for the site or in defaults"},
		"CSV duplicate":    {"csv", "id,address,credential\nr1,h,c\n\nr1,i,c\n", `FILE:4: id: "r1" is already on line 2`},
		"CSV missing cell": {"csv", "id,address,credential\nr1,,c\n", "FILE:2: address: is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "inventory."+c.ext)
			write(t, path, c.text)
			_, err := Load(path)
			if err == nil {
				t.Fatal("no error")
			}
			if want := strings.ReplaceAll(c.want, "FILE", path); err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestSameEndpointInTwoSitesIsLawful(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.csv")
	write(t, path, "id,address,credential,site,port\nr1,10.0.0.1,c,ber,\nr2,10.0.0.1,c,zrh,\nr3,10.0.0.1,c,zrh,23\n")
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
}

func TestLoadTellsTwentyProblemsAndCountsTheRest(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString("id,address,credential\n")
	for i := range 100 {
		fmt.Fprintf(&b, "r%d,bad host,c\n", i)
	}
	path := filepath.Join(t.TempDir(), "inventory.csv")
	write(t, path, b.String())
	_, err := Load(path)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "and 80 more" || !strings.HasPrefix(lines[19], path+":21: ") {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || err.Error() != dir+": read inventory: not a regular file" {
		t.Errorf("error = %v", err)
	}
	none := filepath.Join(dir, "none.yaml")
	if _, err := Load(none); err == nil || err.Error() != none+": read inventory: no such file or directory" {
		t.Errorf("error = %v", err)
	}
	big := filepath.Join(dir, "big.yaml")
	write(t, big, "")
	if err := os.Truncate(big, FileMax+1); err != nil {
		t.Fatal(err)
	}
	if _, err := read(big, "read inventory", 1000); err == nil || err.Error() != big+": read inventory: the file is over 1000 bytes" {
		t.Errorf("error = %v", err)
	}
}

// large is an inventory of n devices in YAML.
func large(n int) []byte {
	var b bytes.Buffer
	b.WriteString("defaults: {credential: c}\ndevices:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - id: router-%d\n    name: Router %d\n    address: 10.%d.%d.%d\n    site: site-%d\n    tenant: acme\n", i, i, i>>16, i>>8&255, i&255, i%50)
	}
	return b.Bytes()
}

func BenchmarkLoad(b *testing.B) {
	const devices = 100_000
	path := filepath.Join(b.TempDir(), "inventory.yaml")
	write(b, path, string(large(devices)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := Load(path)
		if err != nil || len(f.Devices) != devices {
			b.Fatal(err)
		}
	}
}
