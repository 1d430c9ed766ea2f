package routeros

import (
	"strings"
	"testing"

	"github.com/confhaul/confhaul/pkg/fault"
)

func TestFileCommands(t *testing.T) {
	t.Parallel()
	for want, command := range map[Want]string{
		{Major: 7}:             `/export show-sensitive file=backup; :put "m-1"`,
		{Major: 7, Hide: true}: `/export file=backup; :put "m-1"`,
		{Major: 6}:             `/export file=backup; :put "m-1"`,
		{Major: 6, Hide: true}: `/export hide-sensitive file=backup; :put "m-1"`,
	} {
		if got := FileCommand(want, "backup", "m-1"); got != command {
			t.Errorf("%+v: %s, want %s", want, got, command)
		}
	}
	if got := SizeCommand("backup.rsc", "m-1"); got != `:put [/file get "backup.rsc" size]; :put "m-1"` {
		t.Error(got)
	}
}

func TestAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		output string
		kind   fault.Kind
		reason string
	}{
		{marker, "", ""},
		{"\r\n" + marker + "\r\n", "", ""},
		{"", fault.Incomplete, "without the end marker"},
		{"\r\n", fault.Incomplete, "without the end marker"},
		{marker[:5], fault.Incomplete, "without the end marker"},
		{"not enough permissions (9)\r\n", fault.Permission, "policy=ssh,read,sensitive,write,ftp"},
		{"not enough permissions (9)\r\n" + marker + "\r\n", fault.Permission, "policy=ssh,read,sensitive,write,ftp"},
		{"expected end of command (line 1 column 9)\r\n", fault.Rejected, "expected end of command"},
		{"failure: no space left\r\n" + marker, fault.Rejected, "no space left"},
		{"no such item\r\n" + marker, fault.Rejected, "no such item"},
		{"x password=hunter2\r\n" + marker, fault.Rejected, "by hand"},
		{"interrupted\r\n", fault.Incomplete, "broken off"},
		{"[admin@r1] > \r\n" + marker, fault.Incomplete, "interactive"},
		{"new password> ", fault.Incomplete, "interactive"},
	} {
		kind, reason := Answered([]byte(c.output), marker)
		if kind != c.kind || !strings.Contains(reason, c.reason) || (reason == "") != (kind == "") || strings.Contains(reason, "hunter2") {
			t.Errorf("%q: %q, %s", c.output, kind, reason)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		output string
		size   int64
		kind   fault.Kind
	}{
		{"8388608\r\n" + marker + "\r\n", 8388608, ""},
		{"0\n" + marker, 0, ""},
		{"8388608\r\n", 0, fault.Incomplete},
		{"838", 0, fault.Incomplete},
		{marker, 0, fault.Rejected},
		{"8.0MiB\n" + marker, 0, fault.Rejected},
		{"-1\n" + marker, 0, fault.Rejected},
		{"+1\n" + marker, 0, fault.Rejected},
		{"99999999999999999999\n" + marker, 0, fault.Rejected},
		{"12\n13\n" + marker, 0, fault.Rejected},
		{"no such item\n" + marker, 0, fault.Rejected},
		{"not enough permissions (9)\n", 0, fault.Permission},
	} {
		size, err := ParseSize([]byte(c.output), marker)
		if size != c.size || fault.KindOf(err) != c.kind {
			t.Errorf("%q: %d, %v", c.output, size, err)
		}
	}
}
