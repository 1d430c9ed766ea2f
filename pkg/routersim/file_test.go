package routersim

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
)

// filing is a router whose user may write files and fetch them.
func filing(t *testing.T, version string) *Router {
	t.Helper()
	r := one(t, version)
	r.SetPolicies(PolicySSH, PolicyRead, PolicySensitive, PolicyWrite, PolicyFTP)
	return r
}

func fileClient(t *testing.T, r *Router) *sftp.Client {
	t.Helper()
	c, err := dial(t, r, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	files, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	return files
}

func fetched(t *testing.T, c *sftp.Client, name string) string {
	t.Helper()
	f, err := c.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExportIntoFile(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"6.49.18", "7.20.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			r := filing(t, version)
			r.SetWindowCut(1000) // of the channel; the file is whole
			if got := run(t, r, whole(r)+` file=all; :put "x"`); got != "x\r\n" {
				t.Errorf("prints %q", got)
			}
			c := fileClient(t, r)
			text := fetched(t, c, "all.rsc")
			if settled(text) != settled(r.Export()) {
				t.Error("the file is not the export")
			}
			for _, line := range []string{`:put [/file get all.rsc size]`, `:put [/file get "all.rsc" size]`} {
				if got := run(t, r, line); got != strconv.Itoa(len(text))+"\r\n" {
					t.Errorf("%s prints %q, the file has %d", line, got, len(text))
				}
			}
			if got := run(t, r, `:put [/file get b.rsc size]; :put "x"`); got != "no such item\r\n" {
				t.Errorf("the size of nothing is %q", got)
			}
			if i, err := c.Stat("/all.rsc"); err != nil || i.Size() != int64(len(text)) || r.Files()["all.rsc"] != len(text) {
				t.Errorf("stat %v, %v; files %v", i, err, r.Files())
			}
			r.Change()
			run(t, r, "/export hide-sensitive file=all")
			if settled(fetched(t, c, "all.rsc")) != settled(r.ExportHidden()) {
				t.Error("the file was not replaced by the export without secrets")
			}
			list, err := c.ReadDir("/")
			if err != nil || len(list) != 1 || list[0].Name() != "all.rsc" {
				t.Errorf("list %v, %v", list, err)
			}
			if err := c.Remove("all.rsc"); err != nil || len(r.Files()) != 0 {
				t.Errorf("remove: %v, left %v", err, r.Files())
			}
			if err := c.Remove("all.rsc"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("remove of nothing: %v", err)
			}
			if _, err := c.Open("all.rsc"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("open of nothing: %v", err)
			}
			if _, err := c.Create("x"); !errors.Is(err, os.ErrPermission) {
				t.Errorf("upload: %v", err)
			}
		})
	}
}

func TestFileGrows(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	var f flash
	f.put("a", strings.Repeat("x", 1000), begun, time.Second, 0)
	for after, want := range map[time.Duration]int{
		0: 0, 500 * time.Millisecond: 500, time.Second - 1: 999, time.Second: 1000, time.Hour: 1000, -time.Hour: 0,
	} {
		if got, ok := f.size("a", begun.Add(after)); got != want || !ok {
			t.Errorf("%d bytes after %v, want %d", got, after, want)
		}
	}
	r := filing(t, "7.20.2")
	r.SetFileDelay(time.Hour)
	run(t, r, whole(r)+" file=a")
	if size, ok := r.Files()["a.rsc"]; !ok || size > 1000 {
		t.Errorf("files %v right after the command", r.Files())
	}
}

func TestFlash(t *testing.T) {
	t.Parallel()
	r := filing(t, "7.20.2")
	r.SetFlash(len(r.Export()) + 1000)
	r.SetFlicker(FlickerNone)
	for _, name := range []string{"a", "b", "a"} {
		if got := run(t, r, whole(r)+" file="+name); got != "" {
			t.Errorf("prints %q", got)
		}
	}
	files := r.Files()
	if a, b := files["a.rsc"], files["b.rsc"]; a+b > len(r.Export())+1000 || b < 900 || b > 1100 || a < len(r.Export())-200 {
		t.Errorf("files %v with exports of %d", files, len(r.Export()))
	}
	if text := fetched(t, fileClient(t, r), "b.rsc"); strings.HasSuffix(text, "/tool mac-server mac-winbox") {
		t.Error("the file is not cut")
	}
}

func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	var f flash
	for n := range 3 * filesMax {
		f.put(strconv.Itoa(n), "", time.Now(), 0, 0)
	}
	if n := len(f.list()); n > filesMax {
		t.Errorf("%d files", n)
	}
}

func TestSFTPNeedsItsPolicy(t *testing.T) {
	t.Parallel()
	r := filing(t, "7.20.2")
	r.SetPolicies(PolicySSH, PolicyRead, PolicyWrite)
	c, err := dial(t, r, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sftp.NewClient(c); err == nil || !strings.Contains(err.Error(), "subsystem") {
		t.Errorf("without ftp: %v", err)
	}
}

// TestExecBesideSFTP has both on one connection at the same time.
func TestExecBesideSFTP(t *testing.T) {
	t.Parallel()
	r := filing(t, "7.20.2")
	c, err := dial(t, r, password(testPassword))
	if err != nil {
		t.Fatal(err)
	}
	files, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Output(whole(r) + " file=a"); err != nil || len(out) > 0 {
		t.Fatalf("%q, %v", out, err)
	}
	n := len(fetched(t, files, "a.rsc"))
	wait(t, r.fleet, func(s []Session) bool { return s[0].Bytes == int64(n) })
}

func TestFaultsInFiles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault       Fault
		prints, has string
	}{
		{CutMidExport, "", "/tool mac-server mac-winbox"},
		{Interrupted, "", "#interrupted\r\n"},
		{ErrorExportingTimeout, "", "(timeout)\r\n"},
		{StandingGap, "", "mode-button\"\r\n"},
		{ErrorText, "not enough permissions (9)\r\n", ""},
	} {
		r := filing(t, "7.15.3")
		if err := r.SetFault(c.fault); err != nil {
			t.Fatal(err)
		}
		if got := run(t, r, whole(r)+" file=a"); got != c.prints {
			t.Errorf("%v prints %q", c.fault, got)
		}
		if text, _, ok := r.flash.get("a.rsc", time.Now()); !strings.Contains(text, c.has) || ok != (c.has != "") {
			t.Errorf("%v: a file of %d bytes, ending %q", c.fault, len(text), text[max(0, len(text)-100):])
		}
	}
}
