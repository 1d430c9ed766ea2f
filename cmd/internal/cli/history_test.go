package cli

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/confhaul/confhaul/cmd/internal/app"
	"github.com/confhaul/confhaul/pkg/archive"
	"github.com/confhaul/confhaul/pkg/archive/archivetest"
	"github.com/confhaul/confhaul/pkg/backup"
	"github.com/confhaul/confhaul/pkg/device"
)

// past is a data directory with an archive that nobody writes.
type past struct {
	*testing.T
	data string
}

// configs are those of edge-7, one version each.
var configs = []string{
	"/ip firewall filter\nadd action=accept chain=input comment=allow-dns dst-port=53 protocol=udp\n/ppp secret\nadd name=bob password=first-secret\n/system identity\nset name=edge-7\n",
	"/ip firewall filter\nadd action=accept chain=input comment=allow-dns disabled=yes dst-port=53 protocol=udp\n/ppp secret\nadd name=bob password=first-secret\n/system identity\nset name=edge-7\n",
	"/ip firewall filter\nadd action=accept chain=input comment=allow-dns disabled=yes dst-port=53 protocol=udp\n/ppp secret\nadd name=bob password=second-secret\n/system identity\nset name=edge-7\n",
	"/ip firewall filter\nadd action=accept chain=input comment=allow-dns disabled=yes dst-port=53 protocol=udp\nadd action=drop chain=input comment=telnet dst-port=23 protocol=tcp\n/ppp secret\nadd name=bob password=second-secret\n/system identity\nset name=riga-edge-7\n",
}

// configTimes are when they were collected: long ago, yet in one order with every form of a time.
var configTimes = []time.Time{
	time.Date(2025, 11, 22, 9, 0, 0, 0, time.UTC),
	time.Date(2025, 11, 23, 9, 30, 15, 5000, time.UTC),
	time.Date(2025, 11, 24, 10, 0, 30, 700, time.UTC),
	time.Date(2025, 11, 24, 18, 0, 0, 0, time.UTC),
}

// newPast stores four versions of edge-7, and four other devices: one recent change, two with one name, one removed.
func newPast(t *testing.T) past {
	t.Helper()
	p := past{t, t.TempDir()}
	p.write(func(ctx context.Context, s archive.Store) error {
		var snaps []archive.Snapshot
		put := func(id, name, site, text string, at time.Time) {
			snap := archivetest.Snapshot(id, at, []byte(text))
			snap.Name, snap.Site = name, site
			snaps = append(snaps, snap)
		}
		for i, text := range configs {
			put("edge-7", "Edge seven", "riga", text, configTimes[i])
		}
		now := time.Now()
		put("edge-8", "edge-8", "riga", "/system identity\nset name=edge-8\n", configTimes[0])
		put("edge-8", "edge-8", "riga", "/system identity\nset name=changed\n", now.Add(-time.Hour))
		put("core:1", "core", "vilnius", "/system identity\nset name=core-one\n", configTimes[1])
		put("core-2", "Core", "vilnius", "/system identity\nset name=core-two\n", configTimes[1])
		put("core-3", "Core", "vilnius", "/system identity\nset name=core-three\n/system note\nset note=third\n", configTimes[1])
		put("gone-1", "gone", "riga", "/system identity\nset name=gone\n", configTimes[1])
		_, err := s.Put(ctx, snaps)
		return errors.Join(err, s.Remove(ctx, []string{"gone-1"}, now.Add(-time.Minute)))
	})
	return p
}

func (p past) dir() string { return filepath.Join(p.data, "archive") }

func (p past) write(fn func(context.Context, archive.Store) error) {
	p.Helper()
	s, err := archive.OpenSQLite(p.Context(), p.dir(), archive.Options{})
	if err == nil {
		err = errors.Join(fn(p.Context(), s), s.Close())
	}
	if err != nil {
		p.Fatal(err)
	}
}

func (p past) run(code int, args ...string) outcome {
	p.Helper()
	return house{T: p.T, data: p.data}.run(code, args...)
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	for text, want := range map[string]version{
		"":                        {},
		"@3":                      {which: archive.Which{Number: 3}},
		"@1234567":                {which: archive.Which{Number: 1234567}},
		"@-0":                     {},
		"@-1":                     {back: 1},
		"@2026-11-23":             {which: archive.Which{At: time.Date(2026, 11, 23, 23, 59, 59, 999999999, time.UTC)}},
		"@2026-11-24":             {which: archive.Which{At: now}},
		"@2026-11-24T10:00":       {which: archive.Which{At: time.Date(2026, 11, 24, 10, 0, 59, 999999999, time.UTC)}},
		"@2026-11-24 10:00":       {which: archive.Which{At: time.Date(2026, 11, 24, 10, 0, 59, 999999999, time.UTC)}},
		"@2026-11-24T10:00:05Z":   {which: archive.Which{At: time.Date(2026, 11, 24, 10, 0, 5, 999999999, time.UTC)}},
		"@2026-11-24T10:00+02:00": {which: archive.Which{At: time.Date(2026, 11, 24, 8, 0, 59, 999999999, time.UTC)}},
		"@2h":                     {which: archive.Which{At: now.Add(-2 * time.Hour)}},
		"@1w2d":                   {which: archive.Which{At: now.Add(-9 * 24 * time.Hour)}},
		"@123d":                   {which: archive.Which{At: now.Add(-123 * 24 * time.Hour)}},
		"@12345678":               {which: archive.Which{Digest: "12345678"}},
		"@aBc4":                   {which: archive.Which{Digest: "abc4"}},
		"@5678901d":               {which: archive.Which{Digest: "5678901d"}},
	} {
		got, err := parseVersion(text, now)
		if !got.which.At.Equal(want.which.At) {
			t.Errorf("%s: at %s, want %s", text, got.which.At, want.which.At)
		}
		got.which.At, want.which.At = time.Time{}, time.Time{}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"3": "begins with an @", "@": "@3 (its number", "@0": "numbered from @1", "@abc": "at least 4 digits", "@yesterday": "@2h or @3d",
		"@2026-13-01": "2026-11-24T10:00", "@2026-11-25": "in the future", "@2026-11-24T12:31": "it is 2026-11-24T12:30Z", "@2h3d": "names no version",
	} {
		if _, err := parseVersion(text, now); err == nil || !contains(err.Error(), want) {
			t.Errorf("%q: %v does not say %q", text, err, want)
		}
	}
	if since, err := parseTime("2026-11-23", now, false); err != nil || !since.Equal(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("since %s, %v", since, err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	o := p.run(exitOK, "log", "edge-7")
	for _, want := range []string{
		"edge-7 (Edge seven, riga): 4 versions", "@4  2025-11-24 18:00:00", "@1  2025-11-22 09:00:00", "first version",
		"/ip firewall filter: rule 'allow-dns' disabled", "/ppp secret: 'bob': password (changed)", "(and 1 more)", "+2 -1", "+1 -1",
	} {
		if !contains(o.out, want) {
			t.Errorf("%q is not in\n%s", want, o.out)
		}
	}
	wide(t, o.out)
	if contains(o.out, "-secret") || contains(o.out, "\x1b") {
		t.Errorf("a secret or a colour in\n%s", o.out)
	}
	byName := p.run(exitOK, "log", "Edge seven", "-o", "json")
	all := decode[[]versionView](t, byName)
	if contains(byName.out, "-secret") {
		t.Errorf("a secret in\n%s", byName.out)
	}
	if len(all) != 4 {
		t.Fatalf("%d versions", len(all))
	}
	for i, v := range all {
		if v.Number != 4-i || !v.FirstSeen.Equal(configTimes[3-i]) || v.Bytes != len(configs[3-i]) || v.RouterOS != "7.15.3" || v.Changes == nil {
			t.Errorf("%d: %+v", i, v)
		}
	}
	if c := all[0].Changes; len(c) != 2 || all[0].LinesAdded != 2 || all[0].LinesRemoved != 1 || all[3].LinesAdded != 6 || all[0].Previous != all[1].Digest {
		t.Errorf("the newest: %+v", all[0])
	}
	if two := p.run(exitOK, "log", "edge-7", "-n", "2").out; !contains(two, "and 2 older") || contains(two, "first version") || !contains(two, "@3  ") {
		t.Error(two)
	}
	if o := p.run(exitOK, "log", "gone-1"); !contains(o.out, "removed from the inventory") {
		t.Error(o.out)
	}
	for word, want := range map[string]string{
		"edge-9": "did you mean edge-7 or edge-8?", "EDGE-7": "did you mean edge-7", "zzzzz": "6 devices", "Core": "core-2, core-3",
	} {
		if o := p.run(exitUsage, "log", word); !contains(o.errOut, want) {
			t.Errorf("%s: %q does not say %q", word, o.errOut, want)
		}
	}
	p.run(exitUsage, "log", "edge-7", "-n", "0")
	if o := runHere(t, "log", "x", "--data", t.TempDir()); o.code != exitFailure || !contains(o.errOut, "there is no archive in") || !contains(o.errOut, "archive.dir") {
		t.Errorf("exit %d: %s", o.code, o.errOut)
	}
}

// wide fails where a line of a listing is longer than a listing may be.
func wide(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > widthMax {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// damage breaks the text of the second version of edge-7.
func damage(t *testing.T, dir string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "archive.db"))
	if err == nil {
		_, err = db.Exec(`UPDATE blobs SET data = substr(data, 1, length(data)/2) || x'5a5a' || substr(data, length(data)/2 + 3)
			WHERE id = (SELECT text FROM snapshots s JOIN devices d ON d.id = s.device WHERE d.device = 'edge-7' AND number = 2)`)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLogDamaged: one text that cannot be read costs nothing but what is told of it.
func TestLogDamaged(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	damage(t, p.dir())
	o := p.run(exitFailure, "log", "edge-7")
	if !contains(o.out, "@4 ") || !contains(o.out, "@1 ") || !contains(o.out, "not readable") || !contains(o.errOut, "damaged") {
		t.Errorf("%s\n%s", o.out, o.errOut)
	}
	o = p.run(exitFailure, "archive", "verify")
	if !contains(o.out, "device edge-7") || !contains(o.out, "restore a copy") {
		t.Errorf("%s\n%s", o.out, o.errOut)
	}
	if v := decode[verifyView](t, p.run(exitFailure, "archive", "verify", "-o", "json")); v.Damaged == 0 || len(v.Damage) != v.Damaged || v.Devices != 6 {
		t.Errorf("%+v", v)
	}
}

func TestShowArchived(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	digest := decode[[]versionView](t, p.run(exitOK, "log", "edge-7", "-o", "json"))[2].Digest
	for which, want := range map[string]int{
		"": 4, "@1": 1, "@4": 4, "@-0": 4, "@-3": 1, "@2025-11-22": 1, "@2025-11-24": 4, "@2025-11-24T10:00": 3, "@2025-11-24T09:59": 2,
		"@2025-11-24T10:00:30": 3, "@2025-11-24T11:00+02:00": 2, "@1h": 4, "@" + digest[:digestShown]: 2, "@" + strings.ToUpper(digest): 2,
	} {
		args := []string{"show", "edge-7"}
		if which != "" {
			args = append(args, which)
		}
		if o := p.run(exitOK, args...); o.out != configs[want-1] || o.errOut != "" {
			t.Errorf("%s is\n%s\nand not version %d\n%s", which, o.out, want, o.errOut)
		}
		raw := "# " + configTimes[want-1].Format(time.RFC3339Nano) + "\r\n" + configs[want-1]
		if o := p.run(exitOK, append(args, "--raw")...); o.out != raw {
			t.Errorf("%s is, raw,\n%s", which, o.out)
		}
	}
	if v := decode[snapshotView](t, p.run(exitOK, "show", "edge-7", "@2", "-o", "json")); v.Text != configs[1] || v.Number != 2 || v.Digest != digest {
		t.Errorf("%+v", v)
	}
	for which, want := range map[string]string{
		"@5": "the versions 1 to 4", "@-4": "the versions @1 to @4", "@2025-11-21": "2025-11-22T09:00:00Z", "@ffff": "digest ffff", "3": "begins with an @",
	} {
		if o := p.run(exitUsage, "show", "edge-7", which); !contains(o.errOut, want) {
			t.Errorf("%s: %q does not say %q", which, o.errOut, want)
		}
	}
	if o := p.run(exitUsage, "show", "edge-9"); !contains(o.errOut, "did you mean") || strings.Count(o.errOut, "\n") != 1 {
		t.Error(o.errOut)
	}
	p.run(exitUsage, "show", "edge-7", "@1", "--suspect")
}

func TestDiff(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	o := p.run(exitOK, "diff", "edge-7")
	for _, want := range []string{"--- edge-7 @3 2025-11-24 10:00:30Z\n+++ edge-7 @4 2025-11-24 18:00:00Z\n@@ ", "\n+add action=drop", "\n-set name=edge-7\n+set name=riga-edge-7\n"} {
		if !contains(o.out, want) {
			t.Errorf("%q is not in\n%s", want, o.out)
		}
	}
	if contains(o.out, "\x1b") {
		t.Error("colours without a terminal")
	}
	if since := p.run(exitOK, "diff", "edge-7", "@2025-11-23"); !contains(since.out, "+add name=bob password=second-secret\n") {
		t.Error(since.out)
	}
	if back := p.run(exitOK, "diff", "edge-7", "@2", "@-3"); !contains(back.out, "@2 ") || !contains(back.out, "\n-add action=accept chain=input comment=allow-dns disabled=yes") {
		t.Error(back.out)
	}
	stat := p.run(exitOK, "diff", "edge-7", "@1", "@3", "--stat")
	if contains(stat.out, "-secret") || !contains(stat.out, "2 changes, +2 -2 lines") || !contains(stat.out, "  /ppp secret: 'bob': password (changed)\n") {
		t.Error(stat.out)
	}
	v := decode[diffView](t, p.run(exitOK, "diff", "edge-7", "-o", "json"))
	if v.From.Number != 3 || v.To.Number != 4 || v.Diff == nil || *v.Diff != o.out || v.LinesAdded != 2 || v.LinesRemoved != 1 || len(v.Changes) != 2 {
		t.Errorf("%+v", v)
	}
	if v := decode[diffView](t, p.run(exitOK, "diff", "edge-7", "--stat", "-o", "json")); v.Diff != nil || len(v.Changes) != 2 {
		t.Errorf("%+v", v)
	}
	if o := p.run(exitOK, "diff", "edge-7", "@2", "@2"); o.out != "" || !contains(o.errOut, "are equal") {
		t.Errorf("%q %q", o.out, o.errOut)
	}
	if o := p.run(exitFailure, "diff", "core-2"); !contains(o.errOut, "one version") {
		t.Error(o.errOut)
	}
}

// TestPager shows a difference on a terminal: coloured, through what PAGER says, and without fear of a pager that is left.
func TestPager(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	p.write(func(ctx context.Context, s archive.Store) error { // more of it than a pipe holds
		before, after := archivetest.NewRouter("large", "riga", 200_000), archivetest.NewRouter("other", "riga", 200_000)
		after.Name = before.Name
		_, err := s.Put(ctx, []archive.Snapshot{before.Snapshot(configTimes[0]), after.Snapshot(configTimes[1])})
		return err
	})
	on := func(pager, device string) (int, string, string) {
		var out, errOut lockedBuffer
		e := &env{in: strings.NewReader(""), out: &out, err: &errOut, outTerminal: true, getenv: func(name string) string {
			return map[string]string{"PAGER": pager}[name]
		}}
		return e.execute(t.Context(), []string{"diff", device, "--data", p.data}), out.String(), errOut.String()
	}
	code, out, errOut := on("sed 's/^/> /'", "edge-7")
	if code != exitOK || !contains(out, "> \x1b[31m-set name=edge-7\x1b[0m\n> \x1b[32m+set name=riga-edge-7\x1b[0m\n") || !contains(out, "> \x1b[1m--- edge-7 @3") {
		t.Errorf("exit %d %s\n%q", code, errOut, out)
	}
	if code, out, _ := on("cat", "edge-7"); code != exitOK || !contains(out, "\x1b[36m@@ ") {
		t.Errorf("exit %d %q", code, out)
	}
	if code, _, errOut := on("exec true", "large"); code != exitOK {
		t.Errorf("a pager that is left: exit %d %s", code, errOut)
	}
	if code, _, errOut := on("/nonexistent/pager", "edge-7"); code != exitFailure || !contains(errOut, "PAGER=cat") {
		t.Errorf("no pager: exit %d %s", code, errOut)
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	o := p.run(exitOK, "changes")
	if !contains(o.out, "edge-8") || !contains(o.out, "/system identity: name 'edge-8' -> 'changed'") || contains(o.out, "edge-7") {
		t.Error(o.out)
	}
	wide(t, o.out)
	all := p.run(exitOK, "changes", "--since", "2025-11-22", "-o", "json")
	views := decode[[]versionView](t, all)
	if len(views) != 10 || views[0].ID != "edge-8" || contains(all.out, "-secret") {
		t.Errorf("%d changes\n%s", len(views), all.out)
	}
	for i := 1; i < len(views); i++ {
		if views[i].ID == "core-3" && views[i].LinesAdded != 4 || views[i].ID == "core-2" && views[i].LinesAdded != 2 {
			t.Errorf("%s: %d lines", views[i].ID, views[i].LinesAdded)
		}
		if views[i].FirstSeen.After(views[i-1].FirstSeen) {
			t.Errorf("%s stands behind %s", views[i].FirstSeen, views[i-1].FirstSeen)
		}
	}
	if v := decode[[]versionView](t, p.run(exitOK, "changes", "--since", "2025-11-24", "--site", "riga", "-o", "json")); len(v) != 3 || v[1].Number != 4 || v[2].Number != 3 {
		t.Errorf("%+v", v)
	}
	if o := p.run(exitOK, "changes", "--since", "2025-11-22", "-n", "2"); !contains(o.out, "and more before them (-n 20") {
		t.Error(o.out)
	}
	if o := p.run(exitOK, "changes", "--since", "5m"); !contains(o.out, "nothing changed since") {
		t.Error(o.out)
	}
	if o := p.run(exitOK, "changes", "--since", "5m", "-o", "json"); o.out != "[]\n" {
		t.Error(o.out)
	}
	for _, args := range [][]string{{"--since", "soon"}, {"--since", "2999-01-01"}, {"--site", "nowhere"}, {"-n", "-1"}} {
		p.run(exitUsage, append([]string{"changes"}, args...)...)
	}
}

func TestSearch(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"a line":             {[]string{"comment=telnet"}, "edge-7:3: add action=drop chain=input comment=telnet dst-port=23 protocol=tcp\n"},
		"not of the removed": {[]string{"name=gone"}, ""},
		"of the removed":     {[]string{"name=gone", "--at", "2h"}, "gone-1:2: set name=gone\n"},
		"of several":         {[]string{"^set name=core-t(wo|hree)$"}, "core-2:2: set name=core-two\ncore-3:2: set name=core-three\n"},
		"in either case":     {[]string{"(?i)NAME=EDGE"}, ""},
		"then":               {[]string{"password=first", "--at", "2025-11-24T10:00"}, ""},
		"before":             {[]string{"password=first", "--at", "2025-11-23"}, "edge-7:4: add name=bob password=first-secret\n"},
		"at a site":          {[]string{"set name=", "--site", "vilnius"}, "core-2:2: set name=core-two\ncore-3:2: set name=core-three\ncore:1:2: set name=core-one\n"},
		"over no line end":   {[]string{`identity\sset`}, ""},
		"the whole of many":  {[]string{"^/system", "--site", "vilnius"}, "core-2:1: /system identity\ncore-3:1: /system identity\ncore-3:3: /system note\ncore:1:1: /system identity\n"},
	} {
		o := p.run(exitOK, append([]string{"search"}, tc.args...)...)
		if o.out != tc.want || (tc.want == "") != contains(o.errOut, "no line fits") {
			t.Errorf("%s: %q %q, want %q", name, o.out, o.errOut, tc.want)
		}
	}
	o := p.run(exitOK, "search", "set name", "--site", "riga", "-o", "json")
	var found []foundView
	for line := range strings.Lines(o.out) {
		var f foundView
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		found = append(found, f)
	}
	if len(found) != 2 || found[0] != (foundView{"edge-7", "Edge seven", "riga", 4, 7, "set name=riga-edge-7"}) {
		t.Errorf("%+v", found)
	}
	for _, args := range [][]string{{"("}, {`a(?=b)`}, {"a", "--at", "later"}, {"a", "--site", "nowhere"}, {}} {
		if o := p.run(exitUsage, append([]string{"search"}, args...)...); strings.Count(o.errOut, "\n") != 1 {
			t.Errorf("%v: %s", args, o.errOut)
		}
	}
}

func TestSinceOfFresh(t *testing.T) {
	t.Parallel()
	seen := time.Now().Add(-time.Hour)
	f := app.Fresh{Device: device.Device{FirstSeen: seen}, State: backup.State{}}
	if !f.Since().Equal(seen) {
		t.Error("a device without a backup counts from when it was first seen")
	}
	if f.Proven = seen.Add(time.Minute); !f.Since().Equal(f.Proven) {
		t.Error("a device with a backup counts from its beginning")
	}
}
